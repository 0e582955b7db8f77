"""Group logged impressions into slates: the candidates of one auction each."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dinrank.model.bundle.encoding import Indices
from dinrank.training.errors import ReplayError


class SlateRule(StrEnum):
    """Rule for the impressions of a user that compete."""

    MOMENT = "moment"  # those with the same timestamp
    WINDOW = "window"  # a number of consecutive ones
    USER = "user"  # all of the split


# Legend: N = impressions of all slates, S = slates.
@dataclass(frozen=True, slots=True)
class Slates:
    """Slate s holds the impressions `rows_N[starts_S1[s]:starts_S1[s + 1]]`, in random order.

    Attributes:
        rows_N: rows of the impressions table.
        starts_S1: S + 1 positions in `rows_N`.
        moment_S: row of each slate's earliest impression, the time of the request.
        user_S: a number per user, from 0 on.
        num_logged: impressions of the split, including those in no slate.
        window: number of impressions in a window, None under the other rules.
    """

    rows_N: Indices
    starts_S1: Indices
    moment_S: Indices
    user_S: Indices
    rule: SlateRule
    num_logged: int
    window: int | None = None

    def __len__(self) -> int:
        return len(self.moment_S)

    def of(self, slate: int) -> slice:
        """Return the slate's range in `rows_N`."""
        return slice(int(self.starts_S1[slate]), int(self.starts_S1[slate + 1]))

    @property
    def num_users(self) -> int:
        return int(self.user_S.max(initial=-1)) + 1


def make_slates(
    impressions: pl.DataFrame, split: str, *, slots: int, window: int | None, rng: np.random.Generator
) -> Slates:
    """Group a split's impressions; only groups with more candidates than slots are kept: the rest show all they have.

    With a window: that many consecutive impressions of a user, simultaneous ones in file order. Without: impressions
    with the same timestamp, if there are such groups; else all of a user.

    The order within a slate is random, because the log's order may reveal the label (clicked ones first) and ties in
    eCPM would follow it.

    Raises:
        ReplayError: no group has more candidates than slots.
    """
    table = (
        impressions.select("user_id", "timestamp", "split")
        .with_row_index("row")
        .filter(pl.col("split") == split)
        .sort("user_id", "timestamp", maintain_order=True)
    )
    starts_user_N = _changes(table["user_id"])
    starts_moment_N = starts_user_N | _changes(table["timestamp"])
    rows_N = table["row"].cast(pl.Int64).to_numpy()
    if window is not None:
        rules = {SlateRule.WINDOW: _position_in_run(starts_user_N) % window == 0}
    else:
        rules = {SlateRule.MOMENT: starts_moment_N, SlateRule.USER: starts_user_N}
    for rule, starts_N in rules.items():
        group_N = np.cumsum(starts_N) - 1
        is_kept_N = np.bincount(group_N)[group_N] > slots
        if is_kept_N.any():
            starts_S = np.flatnonzero(starts_N[is_kept_N])
            slate_N = np.cumsum(starts_N[is_kept_N])
            kept = rows_N[is_kept_N]
            _, user_S = np.unique((np.cumsum(starts_user_N)[is_kept_N])[starts_S], return_inverse=True)
            return Slates(
                rows_N=kept[np.lexsort((rng.random(len(kept)), slate_N))],
                starts_S1=np.append(starts_S, len(kept)),
                moment_S=kept[starts_S],
                user_S=user_S,
                rule=rule,
                num_logged=len(rows_N),
                window=window,
            )
    raise ReplayError(_no_slates(split, slots=slots, window=window, num_logged=len(rows_N)))


def _no_slates(split: str, *, slots: int, window: int | None, num_logged: int) -> str:
    if num_logged == 0:
        return f"the data set has no impression of the split {split}: name another --split"
    needed = f"{slots + 1} impressions, more than the {slots} to be shown, which two rankings could order differently"
    if window is not None:
        return f"no window of {window} impressions of a user has {needed}: take a longer --window or fewer --slots"
    return f"no user has {needed}, in the split {split}: take fewer --slots or another --split"


def _changes(column: pl.Series) -> NDArray[np.bool_]:
    """Mark the values that differ from the one before; the first one does."""
    is_other = column.ne_missing(column.shift(1)).to_numpy().copy()
    is_other[:1] = True
    return is_other


def _position_in_run(starts_N: NDArray[np.bool_]) -> Indices:
    places_N = np.arange(len(starts_N))
    return places_N - np.maximum.accumulate(np.where(starts_N, places_N, 0))
