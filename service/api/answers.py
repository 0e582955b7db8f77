"""The answer of POST /rank: columns to bytes. `RankResponse` documents its form, and a test holds the two together."""

from collections.abc import Iterator
from typing import Any

import orjson

from service.api.schemas import ModelName
from service.scoring.ranking import Explanation, Ranking


def rank_response(ranking: Ranking, request_id: str, model: ModelName) -> bytes:
    """The JSON of one answer."""
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
