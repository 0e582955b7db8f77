"""Behaviour events, over HTTP or a stream: their fields, their limits, and their stored form."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    WithJsonSchema,
    WrapValidator,
)
from pydantic.config import JsonDict
from pydantic_core import to_json

from dinrank.model.bundle.encoding import Encoder, UnknownFeatureError
from dinrank.model.bundle.schema import ITEM_ID, Feature, Group
from dinrank.service.api.repeated_keys import REPEATED, repeated_key
from dinrank.service.api.schemas import Features, Id, Sent, validate_in_batches
from dinrank.service.errors import UnknownFeature
from dinrank.service.store.behaviour_writer import BehaviourEvent
from dinrank.service.store.layout import encode_behaviour

MAX_EVENTS = 1_000  # of one request
MAX_FEATURES_BYTES = 4_096  # of one event, as JSON: stored with the event and read by every ranking
MAX_TIMESTAMP = 9e18  # either way; nanoseconds since 1970 reach the year 2255

_EXAMPLE: JsonDict = {
    "events": [
        {"event_id": "c1f0-17", "user_id": "42", "item_id": "2858", "timestamp": 978300760},
        {
            "event_id": "c1f0-18",
            "user_id": "42",
            "item_id": "9001",
            "timestamp": 978300791,
            "features": {"genre": ["Comedy"]},
        },
    ]
}


def _timestamp(value: Any) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    if not abs(value) <= MAX_TIMESTAMP:  # in this form NaN is refused too
        raise ValueError(f"must be a number from -{MAX_TIMESTAMP:g} to {MAX_TIMESTAMP:g}")
    return value


def _small(features: dict[str, Any]) -> dict[str, Any]:
    if features and (size := len(to_json(features))) > MAX_FEATURES_BYTES:
        raise ValueError(f"at most {MAX_FEATURES_BYTES} bytes as JSON, not {size}")
    return features


def _few_events(value: Any) -> Any:
    if isinstance(value, list) and len(value) > MAX_EVENTS:
        raise ValueError(f"at most {MAX_EVENTS} events, not {len(value)}; send them in several requests")
    return value


Timestamp = Annotated[
    Any,
    PlainValidator(_timestamp),
    WithJsonSchema({"type": "number", "minimum": -MAX_TIMESTAMP, "maximum": MAX_TIMESTAMP}),
]


class EventBody(Sent):
    """A behaviour: a user interacted with an item."""

    event_id: Id = Field(description="Unique among the user's events. Idempotent: sent again, it changes nothing.")
    user_id: Id = Field(description="The user's id as in the feature store, as text.")
    item_id: Id = Field(description="The item's id as in the training data, as text.")
    timestamp: Timestamp = Field(description="When it happened, in the unit of the published behaviours.")
    features: Annotated[Features, AfterValidator(_small)] = Field(
        default_factory=dict,
        description="Raw item features of an item newer than the model; for a known item they are checked and not "
        f"stored. At most {MAX_FEATURES_BYTES} bytes as JSON.",
    )

    def to_stored(self, encoder: Encoder, field: str) -> BehaviourEvent:
        """Raises: UnknownFeature, whose field starts with `field`, the path of this event's features."""
        described: Sequence[Feature] = ()
        if self.features:
            self._check_features(encoder, field)
            if self.item_id not in encoder.catalogue:
                described = [each for each in encoder.schema.group(Group.ITEM) if each.name != ITEM_ID]
        element = encode_behaviour(self.item_id, self.timestamp, described, self.features if described else None)
        return BehaviourEvent(self.event_id, self.user_id, self.timestamp, element)

    def _check_features(self, encoder: Encoder, field: str) -> None:
        for name, value in self.features.items():
            try:
                encoder.items([self.item_id], {0: {name: value}})
            except UnknownFeatureError as exc:
                raise UnknownFeature(str(exc), field=f"{field}.{name}") from exc


class BehavioursRequest(Sent):
    """Behaviours of any users, in any order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    events: Annotated[list[EventBody], WrapValidator(validate_in_batches), BeforeValidator(_few_events)] = Field(
        min_length=1, max_length=MAX_EVENTS, description="They may repeat, and may be in any order."
    )

    def to_stored(self, encoder: Encoder) -> list[BehaviourEvent]:
        """Raises: UnknownFeature."""
        return [event.to_stored(encoder, f"events.{place}.features") for place, event in enumerate(self.events)]


class NoEvent(Exception):
    """Not a valid event. The message names the first fault."""


def read_event(text: bytes, encoder: Encoder) -> BehaviourEvent:
    """Parse one event from JSON. Raises: NoEvent."""
    try:
        event = EventBody.model_validate_json(text)
        if (repeated := repeated_key(text)) is not None:
            raise NoEvent(f"{'.'.join(repeated)}: {REPEATED}")
        return event.to_stored(encoder, "features")
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(step) for step in first["loc"])
        raise NoEvent(f"{field}: {first['msg']}" if field else first["msg"]) from exc
    except UnknownFeature as exc:
        raise NoEvent(f"{exc.field}: {exc}") from exc
