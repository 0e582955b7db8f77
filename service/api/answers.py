"""The answer of POST /rank: a task to bytes. `RankResponse` documents its form, and a test holds the two together."""

from collections.abc import MutableMapping, Sequence
from itertools import count, repeat
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from service.api.admission import CALLER
from service.api.line_up import LineUp
from service.api.outcomes import DEGRADED, OK
from service.api.schemas import ModelName
from service.scoring.ranking import Explanation, Part, Ranking, RankingTask


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
    """`RankedAdBody`, at a quarter of a dictionary's time."""

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
    """The body of the answer.

    Args:
        state: of the request; what becomes of it is left there.

    Raises:
        ServiceError, CallerLeft
    """
    served = line_up.for_task(task)
    model = served.model_name()
    state["num_candidates"], state["model_version"] = len(task.candidates), model.version
    ranking = await served.ranker.rank(task, state[CALLER])
    state["outcome"] = DEGRADED if ranking.degraded else OK
    line_up.compare(task, ranking)
    return _to_json(ranking, task, model)


def _to_json(ranking: Ranking, task: RankingTask, model: ModelName) -> bytes:
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
            model=_Model(model.name, model.version),
            behaviours=ranking.num_behaviours,
            degraded=ranking.degraded,
            below_reserve=ranking.num_below_reserve if task.reserve_price else UNSET,
            ads=list(map(_RankedAd, count(1), *columns)),
        )
    )


def _activation_weights(explanation: Explanation) -> list[list[_Weight]]:
    """For each ad one entry per behaviour, oldest first."""
    return [list(map(_Weight, explanation.item_ids, weights)) for weights in explanation.weights]


def _strongest(explanation: Explanation) -> list[list[_StrongBehaviour]]:
    """For each ad the few behaviours that mattered most to it."""
    return [
        [_StrongBehaviour(explanation.item_ids[place], weights[place], place) for place in places]
        for weights, places in zip(explanation.weights, explanation.strongest, strict=True)
    ]
