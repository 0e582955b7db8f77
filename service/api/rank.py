"""POST /rank: the hot path parses and answers valid bodies without FastAPI."""

from collections.abc import MutableMapping, Sequence
from http import HTTPStatus
from itertools import count, repeat
from typing import Any

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import UNSET, UnsetType
from starlette.types import ASGIApp, Receive, Scope, Send

from dinrank.service.api.admission import CALLER, DEADLINE_PARAMETER
from dinrank.service.api.body import replay
from dinrank.service.api.context import RANK_PATH
from dinrank.service.api.dependencies import LineUpHere
from dinrank.service.api.headers import header
from dinrank.service.api.openapi import problems
from dinrank.service.api.problems import DEGRADED, OK, service_problem
from dinrank.service.api.rank_bodies import RankRequest, RankResponse, read_task
from dinrank.service.api.strict_json import StrictJsonRoute
from dinrank.service.errors import ServiceError
from dinrank.service.lineup.line_up import LineUp, Served
from dinrank.service.scoring.ranking import Explanation, Part, Ranking, RankingTask

_JSON = "application/json"

router = APIRouter(route_class=StrictJsonRoute)


class OnePass:
    """Hot path: answers ranking requests with a valid body, and passes all others on to the route.

    The route gives the same answers. It parses a body in two passes, JSON then schema, explains its faults, and is the
    source of the OpenAPI document. Sits inside BodyLimit, which reads whole bodies.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_ranking(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()
        body: bytes = message["body"]
        task = read_task(body, scope["state"]["request_id"])
        if task is None:
            await self._app(scope, replay(body, receive), send)
            return
        try:
            answer = await rank_answer(task, scope["state"], scope["app"].state.line_up)
        except ServiceError as exc:
            await service_problem(Request(scope), exc)(scope, receive, send)
            return
        head = [(b"content-length", str(len(answer)).encode()), (b"content-type", _JSON.encode())]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": head})
        await send({"type": "http.response.body", "body": answer})


def _is_ranking(scope: Scope) -> bool:
    """Match the usual content type only; FastAPI accepts other JSON types too."""
    return (
        scope["type"] == "http"
        and scope["path"] == RANK_PATH
        and scope["method"] == "POST"
        and header(scope, b"content-type").partition(";")[0] == _JSON
    )


# The deadline header is documented here and read in `admission`, before routing.
@router.post(
    RANK_PATH,
    response_model=RankResponse,
    responses=problems(400, 408, 413, 422, 500, 503),
    openapi_extra={"parameters": [DEADLINE_PARAMETER]},
)
async def rank(body: RankRequest, request: Request, line_up: LineUpHere) -> Response:
    """Score all candidates for one user in one pass and return them by eCPM, highest first."""
    answer = await rank_answer(body.to_task(request.state.request_id), request.scope["state"], line_up)
    return Response(answer, media_type="application/json")


class _Weight(msgspec.Struct, gc=False):
    """`WeightBody`."""

    item_id: str
    weight: float


class _StrongBehaviour(msgspec.Struct, gc=False):
    """`StrongBehaviourBody`."""

    item_id: str
    weight: float
    behaviour: int


class _RankedAd(msgspec.Struct, gc=False):
    """`RankedAdBody`, four times as fast as a dictionary."""

    rank: int
    ad_id: str
    bid: float
    ctr: float
    ecpm: float
    price: float | UnsetType
    activation_weights: list[_Weight] | UnsetType
    strongest: list[_StrongBehaviour] | UnsetType


class _Model(msgspec.Struct):
    """`ModelName`."""

    name: str
    version: str


class _Answer(msgspec.Struct):
    """`RankResponse`."""

    request_id: str
    model: _Model
    behaviours: int
    degraded: Sequence[Part]
    below_reserve: int | UnsetType
    ads: list[_RankedAd]


_encoder = msgspec.json.Encoder()


async def rank_answer(task: RankingTask, state: MutableMapping[str, Any], line_up: LineUp) -> bytes:
    """Rank and return the body of the answer.

    Args:
        state: of the request; its outcome is stored there.

    Raises:
        ServiceError, CallerLeft
    """
    served = line_up.for_task(task)
    state["num_candidates"], state["model_version"] = len(task.candidates), served.version
    ranking = await served.ranker.rank(task, state[CALLER])
    state["outcome"] = DEGRADED if ranking.degraded else OK
    line_up.compare(task, ranking)
    return _to_json(ranking, task, served)


def _to_json(ranking: Ranking, task: RankingTask, served: Served) -> bytes:
    prices, explanation = ranking.prices, ranking.explanation
    columns = [
        ranking.ad_ids,
        ranking.bids,
        ranking.ctrs,
        ranking.ecpms,
        repeat(UNSET) if prices is None else prices,
        repeat(UNSET) if explanation is None else _activation_weights(explanation),
        repeat(UNSET) if explanation is None else _strongest(explanation),
    ]
    return _encoder.encode(
        _Answer(
            request_id=task.request_id,
            model=_Model(served.name, served.version),
            behaviours=ranking.num_behaviours,
            degraded=ranking.degraded,
            below_reserve=ranking.num_below_reserve if task.reserve_price else UNSET,
            ads=list(map(_RankedAd, count(1), *columns)),
        )
    )


def _activation_weights(explanation: Explanation) -> list[list[_Weight]]:
    """Return, for each ad, one entry per behaviour, oldest first."""
    return [list(map(_Weight, explanation.item_ids, weights)) for weights in explanation.weights]


def _strongest(explanation: Explanation) -> list[list[_StrongBehaviour]]:
    """Return, for each ad, the few behaviours that mattered most to it."""
    return [
        [_StrongBehaviour(explanation.item_ids[place], weights[place], place) for place in places]
        for weights, places in zip(explanation.weights, explanation.strongest, strict=True)
    ]
