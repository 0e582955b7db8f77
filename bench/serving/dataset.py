"""A synthetic shop, the size of a small real one: a dataset directory for the product's own commands."""

from pathlib import Path

import numpy as np
import polars as pl

from bench.serving.setting import (
    NUM_ACTIVE_ADS,
    NUM_CANDIDATES,
    NUM_CATEGORIES,
    NUM_ITEMS,
    NUM_SEGMENTS,
    NUM_USERS,
    SEED,
)
from dinrank.model.bundle.request import ScoringRequest

NUM_HOURS = 24
_ZIPF_EXPONENT = 0.8  # the thousandth item is clicked 250 times less often than the first
_SCHEMA = """\
[dataset]
name = "invented-shop"
source = "drawn at random"

[behaviours]
max_length = {max_length}

[[features]]
name = "item_id"
group = "item"

[[features]]
name = "category"
group = "item"

[[features]]
name = "segment"
group = "user"

[[features]]
name = "hour"
group = "context"
"""


def item_ids() -> list[str]:
    return [f"item-{number}" for number in range(NUM_ITEMS)]


def user_ids() -> list[str]:
    return [f"user-{number}" for number in range(NUM_USERS)]


def segment_of(user: int) -> str:
    return f"segment-{user % NUM_SEGMENTS}"


class Traffic:
    """Draws clicks and candidates, both by Zipf laws, each with its own popularity order."""

    def __init__(self, *, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        fixed = np.random.default_rng(SEED)
        self._items = fixed.permutation(NUM_ITEMS)
        self._ads = fixed.permutation(NUM_ITEMS)[:NUM_ACTIVE_ADS]

    def behaviours(self, count: int) -> list[str]:
        """With repetitions, oldest first."""
        return _names(self._rng.choice(self._items, size=count, p=_fame(NUM_ITEMS)))

    def candidates(self) -> list[str]:
        """Different ones, in any order."""
        return _names(self._rng.choice(self._ads, size=NUM_CANDIDATES, replace=False, p=_fame(NUM_ACTIVE_ADS)))

    def bids(self, count: int) -> list[float]:
        bids: list[float] = np.round(self._rng.lognormal(np.log(0.4), 0.6, count), 4).tolist()
        return bids

    def user(self) -> int:
        return int(self._rng.choice(NUM_USERS, p=_fame(NUM_USERS)))

    def hour(self) -> str:
        return str(self._rng.integers(NUM_HOURS))

    def active_ads(self) -> list[str]:
        return _names(self._ads)

    def scoring_request(self, num_behaviours: int) -> ScoringRequest:
        return ScoringRequest(
            candidates=self.candidates(),
            behaviours=self.behaviours(num_behaviours),
            profile={"segment": segment_of(self.user())},
            context={"hour": self.hour()},
            candidate_attributes={},
            behaviour_attributes={},
        )


def write_dataset(path: Path, *, num_behaviours: int, max_behaviours: int) -> None:
    """Write the shop to the new directory `path`.

    Args:
        num_behaviours: of every user.
        max_behaviours: maximum for a network.
    """
    path.mkdir(parents=True)
    (path / "schema.toml").write_text(_SCHEMA.format(max_length=max_behaviours), encoding="utf-8")
    rng = np.random.default_rng(SEED)
    users, items = user_ids(), item_ids()
    categories = [f"category-{number}" for number in rng.integers(NUM_CATEGORIES, size=NUM_ITEMS)]
    tables = {
        "items": pl.DataFrame({"item_id": items, "category": categories}),
        "users": pl.DataFrame({"user_id": users, "segment": [segment_of(number) for number in range(NUM_USERS)]}),
        "behaviours": pl.DataFrame(
            {
                "user_id": np.repeat(users, num_behaviours),
                "item_id": Traffic(seed=SEED).behaviours(NUM_USERS * num_behaviours),
                "timestamp": np.tile(np.arange(num_behaviours), NUM_USERS),
            }
        ),
        "impressions": _impressions(users, items, timestamp=num_behaviours),
    }
    for name, table in tables.items():
        table.write_parquet(path / f"{name}.parquet")


def _impressions(users: list[str], items: list[str], *, timestamp: int) -> pl.DataFrame:
    """Put every item and every user at least once in `train`, so that vocabularies hold all of them."""
    numbers = np.arange(NUM_ITEMS)
    splits = np.full(NUM_ITEMS + 4, "train", dtype=object)
    splits[NUM_ITEMS:] = ["valid", "valid", "test", "test"]
    shown = np.concatenate([numbers, numbers[:4]])
    return pl.DataFrame(
        {
            "user_id": [users[number % NUM_USERS] for number in shown],
            "item_id": [items[number] for number in shown],
            "clicked": [number % 2 == 0 for number in shown],
            "timestamp": np.full(len(shown), timestamp),
            "hour": [str(number % NUM_HOURS) for number in shown],
            "split": splits.tolist(),
        }
    )


def _names(numbers: np.ndarray) -> list[str]:
    return [f"item-{number}" for number in numbers.tolist()]


def _fame(count: int) -> np.ndarray:
    weights = 1.0 / np.arange(1, count + 1) ** _ZIPF_EXPONENT
    return weights / weights.sum()
