"""Encode a request and its Redis data as arrays, a row per candidate. Needs only numpy, which every service has."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray


class Index(TypedDict):
    """Attributes:
    items: item id to the indices of id and category.
    unknown: index of a value that is not in a dictionary.
    """

    items: Mapping[str, tuple[int, int]]
    segments: Mapping[str, int]
    hours: Mapping[str, int]
    unknown: int


def read_index(path: Path) -> Index:
    index: Index = json.loads(path.read_text(encoding="utf-8"))
    return index


def behaviours_key(user_id: str) -> str:
    return f"{{u:{user_id}}}:behaviours"


def profile_key(user_id: str) -> str:
    return f"{{u:{user_id}}}:profile"


def read_history(elements: Sequence[bytes]) -> list[str]:
    """Return item ids, oldest first, from a list in Redis, which is newest first."""
    return [json.loads(element)["item_id"] for element in reversed(elements)]


# Legend: N = candidates, a row each; T = behaviours.
def make_rows(
    index: Index, candidates: Sequence[str], history: Sequence[str], segment: str, hour: str
) -> dict[str, NDArray[np.int64]]:
    """Make the network's inputs, the user's history repeated in each row."""
    unknown_item = (index["unknown"], index["unknown"])
    items = np.array([index["items"].get(item_id, unknown_item) for item_id in candidates], dtype=np.int64)
    behaviours = np.array([index["items"].get(item_id, unknown_item) for item_id in history], dtype=np.int64)
    num_rows = len(candidates)
    return {
        "item_N": items[:, 0],
        "category_N": items[:, 1],
        "behaviour_item_NT": np.tile(behaviours[:, 0], (num_rows, 1)),
        "behaviour_category_NT": np.tile(behaviours[:, 1], (num_rows, 1)),
        "segment_N": np.full(num_rows, index["segments"].get(segment, index["unknown"])),
        "hour_N": np.full(num_rows, index["hours"].get(hour, index["unknown"])),
    }


def rank(candidates: Sequence[tuple[str, float]], ctr_N: NDArray[Any]) -> list[dict[str, Any]]:
    """Return ads with bid and CTR, highest eCPM first."""
    ads = [
        {"ad_id": ad_id, "bid": bid, "ctr": ctr, "ecpm": bid * ctr}
        for (ad_id, bid), ctr in zip(candidates, ctr_N.tolist(), strict=True)
    ]
    ads.sort(key=lambda ad: ad["ecpm"], reverse=True)
    return [{"rank": rank, **ad} for rank, ad in enumerate(ads, start=1)]
