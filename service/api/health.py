"""Liveness and readiness probes, metrics, and the port that serves only these."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from dinrank.service.api.context import DRAINING, new_request_id
from dinrank.service.api.dependencies import LineUpHere
from dinrank.service.api.problems import plain_problem
from dinrank.service.api.schemas import ModelName
from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.lineup.line_up import Place
from dinrank.service.store.protocol import FeatureStore
from dinrank.service.telemetry.metrics import EXPOSITION_TYPE

router = APIRouter()

ReadinessStatus = Literal["ready", "degraded", "draining", "stuck"]

_UNREADY = ("draining", "stuck")


class Liveness(BaseModel):
    """The process runs."""

    status: Literal["alive"] = "alive"


class RefusedBundle(BaseModel):
    """The bundle at the path failed verification; the previous one goes on serving."""

    bundle: str = Field(description="The name of its directory.")
    file: str = Field(description="Within the bundle; empty if no file is at fault.")
    expected: str
    found: str


class ChallengerReadiness(BaseModel):
    """A model served beside the champion."""

    model: ModelName
    refused_bundle: RefusedBundle | None = Field(default=None, description="A refused bundle at its path, if any.")


class Readiness(BaseModel):
    """The bundle is loaded; the status says whether Redis answers too."""

    status: ReadinessStatus = Field(
        description="degraded: requests are answered without stored features. draining: the service is shutting down. "
        "stuck: a graph run cannot be ended; the worker is about to be replaced."
    )
    model: ModelName = Field(description="The champion, if several are served.")
    feature_store: Literal["available", "unavailable"]
    refused_bundle: RefusedBundle | None = Field(
        default=None, description="A refused bundle at the path of `model`, and the reason."
    )
    challengers: list[ChallengerReadiness] = Field(description="Challengers and shadows, in the setting's order.")


@router.get("/livez")
async def livez() -> Liveness:
    """200 while the process can answer at all. Checks nothing else: a restart does not fix Redis."""
    return Liveness()


@router.get("/readyz", responses={503: {"model": Readiness, "description": "The service is about to stop, or stuck."}})
async def readyz(request: Request, response: Response, line_up: LineUpHere) -> Readiness:
    """200 once the bundle is loaded and verified; before that, connections are refused.

    It stays 200 while Redis is down and says `degraded`: answers are still given, and taking every replica out of the
    load balancer at once would turn worse answers into none. For the same reason it stays 200 while a refused bundle
    is at the path. It is 503 during a graceful shutdown, while requests are still answered, and while a graph run that
    was told to end goes on.
    """
    champion, *challengers = line_up.places
    served = champion.served
    has_store = await _answers(served.store)
    status: ReadinessStatus = "ready" if has_store else "degraded"
    if line_up.run_limit.is_stuck():
        status = "stuck"
    if request.scope["state"].get(DRAINING, False):
        status = "draining"
    if status in _UNREADY:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return Readiness(
        status=status,
        model=ModelName.of(served),
        feature_store="available" if has_store else "unavailable",
        refused_bundle=_refused_bundle(champion),
        challengers=[
            ChallengerReadiness(model=ModelName.of(place.served), refused_bundle=_refused_bundle(place))
            for place in challengers
        ],
    )


def _refused_bundle(place: Place) -> RefusedBundle | None:
    refusal = place.reloader.refusal
    return None if refusal is None else RefusedBundle(**asdict(refusal))


async def _answers(store: FeatureStore) -> bool:
    try:
        await store.ping()
    except FeatureStoreUnavailable:
        return False
    return True


PROBE_PATHS = frozenset({"/livez", "/readyz", "/metrics"})


@router.get("/metrics", response_class=Response)
def metrics(line_up: LineUpHere) -> Response:  # not async: with several workers it reads files
    """Metrics of all workers in the Prometheus text format."""
    return Response(line_up.champion.telemetry.exposition(), media_type=EXPOSITION_TYPE)


class ProbesAlone:
    """Serves the probe paths only, with the same middleware as the main port; any other path is 404."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBE_PATHS:
            await self._app(scope, receive, send)
            return
        scope["state"]["request_id"] = new_request_id()
        detail = f"this port serves only {', '.join(sorted(PROBE_PATHS))}"
        await plain_problem(Request(scope), HTTPStatus.NOT_FOUND, detail)(scope, receive, send)
