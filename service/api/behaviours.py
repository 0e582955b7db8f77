"""Ingestion of behaviours as they happen: the user's next ranking sees them."""

from dataclasses import asdict

from fastapi import APIRouter
from pydantic import BaseModel, Field

from dinrank.service.api.dependencies import ChampionHere, LiveHere, advising
from dinrank.service.api.events import BehavioursRequest
from dinrank.service.api.openapi import problems
from dinrank.service.api.strict_json import StrictJsonRoute
from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store.behaviour_writer import EventCounts
from dinrank.service.telemetry.metrics import EventOutcome, Telemetry

router = APIRouter(route_class=StrictJsonRoute)


class BehavioursResponse(BaseModel):
    """Counts of events by outcome; each event is counted once."""

    accepted: int = Field(description="The user's history holds them.")
    duplicates: int = Field(description="Their ids were known already.")
    too_old: int = Field(
        description="Not newer than the user's published behaviours, or older than everything in a full history."
    )
    other_unit: int = Field(
        description="Refused: their timestamps are at least a hundred times the user's newest published one, if that "
        "is at least 100,000,000; milliseconds among seconds for instance."
    )


@router.post("/behaviours", responses=problems(400, 413, 422, 503))
async def write_behaviours(body: BehavioursRequest, served: ChampionHere, live: LiveHere) -> BehavioursResponse:
    """Add behaviours to their users' histories, in any order. Idempotent by event id.

    After 503 some events may have been added: send all of them again, none counts twice. After 4xx none was added.
    """
    encoder = served.bundle.encoder
    events = body.to_stored(encoder)
    try:
        with advising("send all of these events again, none will count twice"):
            for user_id in {event.user_id for event in events}:
                served.store.refuse_while_left_alone(user_id)
            counts = await live.behaviours.write(events, max_behaviours=encoder.schema.max_behaviours)
    except FeatureStoreUnavailable:
        served.telemetry.behaviour_events.labels(EventOutcome.UNAVAILABLE).inc(len(events))
        raise
    _count(served.telemetry, counts)
    return BehavioursResponse(**asdict(counts))


def _count(telemetry: Telemetry, counts: EventCounts) -> None:
    telemetry.behaviour_events.labels(EventOutcome.ACCEPTED).inc(counts.accepted)
    telemetry.behaviour_events.labels(EventOutcome.DUPLICATE).inc(counts.duplicates)
    telemetry.behaviour_events.labels(EventOutcome.TOO_OLD).inc(counts.too_old)
    telemetry.behaviour_events.labels(EventOutcome.OTHER_UNIT).inc(counts.other_unit)
