"""Request and response bodies: what the wire carries, its limits, units and examples."""

import math
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    model_validator,
)
from pydantic.config import JsonDict

from model.bundle.vocabulary import RawValue
from service.role import Role
from service.scoring.ranking import Candidates, Part, RankingTask

MAX_ID_LENGTH = 256  # characters of a user or ad id
MAX_VERSION_LENGTH = 64
MAX_FEATURE_NAME_LENGTH = 64
MAX_FEATURES = 256  # by name, of one candidate or of the context
MAX_VALUES = 1_000  # in a feature's list; a bundle uses the first of them, some tens at most
# To say what is wrong costs a hundred times what it costs to be wrong, so faults are looked for in small portions.
_MAX_NAMES = 32  # of an object's fields, known or not
_FAULTY_PORTION = 20  # candidates


def _feature_value(value: Any) -> RawValue:
    """One raw value or a list of them; one message instead of one per type that did not match."""
    scalars = value if isinstance(value, list) else [value]
    if len(scalars) > MAX_VALUES:
        raise ValueError(f"at most {MAX_VALUES} values, not {len(scalars)}")
    if not all(isinstance(scalar, str | bool | int | float) for scalar in scalars):
        raise ValueError("must be text, a number, true, false, or a list of those")
    if any(isinstance(scalar, float) and not math.isfinite(scalar) for scalar in scalars):
        raise ValueError("numbers must be finite")
    checked: RawValue = value
    return checked


def _few_features(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MAX_FEATURES:
        raise ValueError(f"at most {MAX_FEATURES} features, not {len(value)}")
    return value


def until_faults(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate a list only as far as the portion with the first faults."""
    if not isinstance(value, list) or not value:
        return validate(value)
    validated: list[Any] = []
    for start in range(0, len(value), _FAULTY_PORTION):
        end = start + _FAULTY_PORTION
        try:
            validated += validate(value[start:end])
        except ValidationError:
            return validate(value[:end])  # from the beginning, for the positions that the faults name
    return validated


def _whole_number(value: Any) -> Any:
    """20.0 is the same number as 20 in JSON, and an integer to JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SCALAR_SCHEMA = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]

FeatureValue = Annotated[
    Any,
    PlainValidator(_feature_value),
    WithJsonSchema(
        {"anyOf": [*_SCALAR_SCHEMA, {"type": "array", "items": {"anyOf": _SCALAR_SCHEMA}, "maxItems": MAX_VALUES}]}
    ),
]
Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
Version = Annotated[str, Field(min_length=1, max_length=MAX_VERSION_LENGTH)]
Bid = Annotated[float, Field(ge=0)]
Features = Annotated[
    dict[Annotated[str, Field(max_length=MAX_FEATURE_NAME_LENGTH)], FeatureValue],
    Field(max_length=MAX_FEATURES),
    BeforeValidator(_few_features),  # before the values: each may be at fault
]
SENT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # exact types; a misspelling is no default

_EXAMPLE_REQUEST: JsonDict = {
    "user_id": "42",
    "candidates": [
        {"ad_id": "2858", "bid": 0.35},
        {"ad_id": "9001", "bid": 1.2, "features": {"genre": ["Comedy"]}},
    ],
    "context": {"hour": "21"},
    "top_k": 20,
    "explain": False,
}
_EXAMPLE_RESPONSE: JsonDict = {
    "request_id": "6f1c0b6e0d5b4b6f9c3f0b1f3f1f7a11",
    "model": {"name": "din", "version": "3f9c2a17b04d5e68"},
    "behaviours": 50,
    "degraded": [],
    "ads": [
        {"rank": 1, "ad_id": "9001", "bid": 1.2, "ctr": 0.0212, "ecpm": 0.02544},
        {"rank": 2, "ad_id": "2858", "bid": 0.35, "ctr": 0.0641, "ecpm": 0.022435},
    ],
}
_EXAMPLE_PROBLEM: JsonDict = {
    "type": "urn:dinrank:problem:malformed-body",
    "title": "The body is not what this endpoint takes",
    "status": 422,
    "detail": "candidates.0.bid: Input should be greater than or equal to 0",
    "instance": "/rank#6f1c0b6e0d5b4b6f9c3f0b1f3f1f7a11",
    "errors": [{"field": "candidates.0.bid", "message": "Input should be greater than or equal to 0"}],
}


class Sent(BaseModel):
    """What a caller sends."""

    model_config = ConfigDict(**SENT, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > _MAX_NAMES:
            raise ValueError(f"takes {', '.join(cls.model_fields)}; {len(value)} fields were sent")
        return value


class CandidateBody(Sent):
    """An ad to be scored."""

    ad_id: Id = Field(description="The ad's id as in the training data, as text. Repeated ids are scored as sent.")
    bid: Bid = Field(description="Price per click, in the currency that all candidates share.")
    features: Features = Field(
        default_factory=dict,
        description="Raw item features that hold for this request: of an ad that the model does not know, or instead "
        "of those that it knows.",
    )


class RankRequest(Sent):
    """A user and the ads to choose from."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_REQUEST]})

    user_id: Id = Field(description="The user's id as in the feature store, as text.")
    candidates: Annotated[list[CandidateBody], WrapValidator(until_faults)] = Field(
        min_length=1, description="The ads to score, all in one pass."
    )
    context: Features = Field(default_factory=dict, description="Raw context features of this moment.")
    top_k: Annotated[int, BeforeValidator(_whole_number)] | None = Field(
        default=None, ge=1, description="Return so many ads at most; all when left out."
    )
    explain: bool = Field(
        default=False,
        description="Return how strongly each behaviour was activated, for models that have such weights. With many "
        "behaviours it takes a `top_k`: the weights of one answer are limited.",
    )
    reserve_price: Bid = Field(
        default=0.0, description="Least price of a click: ads that bid less are left out of the answer."
    )
    second_prices: bool = Field(
        default=False,
        description="Return what a click costs each ad in a generalised second-price auction, instead of its bid.",
    )

    model: Version | None = Field(
        default=None,
        description="Rank with this version, one of `GET /models`, whichever model the user's share falls to.",
    )

    def to_task(self, request_id: str) -> RankingTask:
        return RankingTask(
            request_id=request_id,
            user_id=self.user_id,
            candidates=Candidates(
                ad_ids=[sent.ad_id for sent in self.candidates],
                bids=[sent.bid for sent in self.candidates],
                features={place: sent.features for place, sent in enumerate(self.candidates) if sent.features},
            ),
            context=self.context,
            top_k=self.top_k,
            explain=self.explain,
            reserve_price=self.reserve_price,
            second_prices=self.second_prices,
            model=self.model,
        )


class ModelName(BaseModel):
    """Which model answered."""

    name: str = Field(description="The network.")
    version: str = Field(description="Hash of the bundle's content.")


class WeightBody(BaseModel):
    """How strongly one behaviour was activated by one ad."""

    item_id: str
    weight: float = Field(description="Raw: not normalised, and possibly negative.")


class StrongBehaviourBody(BaseModel):
    """A behaviour that mattered most to one ad."""

    item_id: str
    weight: float = Field(description="Raw: not normalised, and possibly negative.")
    behaviour: int = Field(description="Its place in `activation_weights`; 0 is the oldest.")


class RankedAdBody(BaseModel):
    """One ad of the answer."""

    rank: int = Field(description="1 for the highest eCPM.")
    ad_id: str
    bid: float = Field(description="As sent.")
    ctr: float = Field(description="Calibrated click-through rate, from 0 to 1.")
    ecpm: float = Field(description="bid x ctr: expected revenue of one impression, in the bid's currency.")
    price: float | None = Field(
        default=None,
        description="With `second_prices`: what a click costs, the lowest bid that would have kept the place.",
    )
    activation_weights: list[WeightBody] | None = Field(
        default=None, description="With `explain`: one per behaviour used, oldest first."
    )
    strongest: list[StrongBehaviourBody] | None = Field(
        default=None,
        description="With `explain`: the three behaviours with the largest weights of either sign, largest first.",
    )


class RankResponse(BaseModel):
    """The ads, highest eCPM first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_RESPONSE]})

    request_id: str = Field(description="The X-Request-ID header of the request, or a new id.")
    model: ModelName
    behaviours: int = Field(description="How many of the user's behaviours the CTRs rest on.")
    degraded: list[Part] = Field(description="What the answer was computed without; empty for a full answer.")
    below_reserve: int | None = Field(
        default=None, description="With `reserve_price`: how many candidates bid less and were left out."
    )
    ads: list[RankedAdBody] = Field(description="Ordered by eCPM, highest first; ties in request order.")


class ModelResponse(BaseModel):
    """What is served and where it comes from."""

    name: str = Field(description="The network.")
    version: str = Field(description="Hash of the bundle's content.")
    features: list[Mapping[str, Any]] = Field(description="The features that the model takes, by group.")
    max_behaviours: int = Field(description="The newest so many behaviours are used.")
    max_candidates: int = Field(description="Candidates that one request may carry.")
    explains: bool = Field(description="Whether `explain` is possible.")
    training: Mapping[str, Any] = Field(description="Data set, commit, seed and configuration behind the bundle.")
    metrics: Mapping[str, Any] = Field(description="Offline metrics by split.")
    calibration: Mapping[str, Any] = Field(description="How logits became CTRs.")


class PlacedModel(BaseModel):
    """One of the models that are served side by side."""

    model: ModelName
    role: Role = Field(description="A shadow ranks for nobody and is only compared.")
    share: float = Field(description="Of the users, from 0 to 1.")
    explains: bool = Field(description="Whether `explain` is possible.")


class ModelsResponse(BaseModel):
    """Everything that is served side by side, the champion first."""

    models: list[PlacedModel]


class FieldError(BaseModel):
    """One fault in a request."""

    field: str = Field(description="Path into the body, `candidates.0.bid` for instance; empty for the body itself.")
    message: str


class Problem(BaseModel):
    """Why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_PROBLEM]})

    type: str = Field(description="Names the kind of problem; `about:blank` when the status says it all.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="This occurrence: path and request id.")
    errors: list[FieldError] = Field(default_factory=list)
