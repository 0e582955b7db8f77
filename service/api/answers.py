"""The answer of POST /rank: a task to bytes. `RankResponse` documents its form, and a test holds the two together."""

from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import Request, Response

from service.api.outcomes import DEGRADED, OK
from service.api.schemas import ModelName
from service.api.served import Served
from service.scoring.ranking import Explanation, Ranking, RankingTask


async def rank_answer(task: RankingTask, request: Request, served: Served) -> Response:
    """Raises: ServiceError."""
    model = served.model_name()
    request.state.num_candidates, request.state.model_version = len(task.candidates), model.version
    ranking = await served.ranker.rank(task)
    request.state.outcome = DEGRADED if ranking.degraded else OK
    return Response(_to_json(ranking, task.request_id, model), media_type="application/json")


def _to_json(ranking: Ranking, request_id: str, model: ModelName) -> bytes:
    columns = zip(ranking.ad_ids, ranking.bids, ranking.ctrs, ranking.ecpms, strict=True)
    ads: list[dict[str, Any]] = [
        {"rank": rank, "ad_id": ad_id, "bid": bid, "ctr": ctr, "ecpm": ecpm}
        for rank, (ad_id, bid, ctr, ecpm) in enumerate(columns, start=1)
    ]
    if ranking.explanation is not None:
        for ad, weights in zip(ads, _activation_weights(ranking.explanation), strict=True):
            ad["activation_weights"] = weights
    return orjson.dumps(
        {
            "request_id": request_id,
            "model": {"name": model.name, "version": model.version},
            "behaviours": ranking.num_behaviours,
            "degraded": ranking.degraded,
            "ads": ads,
        }
    )


def _activation_weights(explanation: Explanation) -> Iterator[list[dict[str, Any]]]:
    """For each ad one entry per behaviour, oldest first."""
    for weights in explanation.weights:
        behaviours = zip(explanation.item_ids, weights, strict=True)
        yield [{"item_id": item_id, "weight": weight} for item_id, weight in behaviours]
