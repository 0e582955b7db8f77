"""Behaviours before each impression: one flat array for all users, and a window into it per row."""

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

Positions = NDArray[np.int64]


# Legend: N = impressions, B = behaviours of all users.
@dataclass(frozen=True, slots=True)
class BehaviourWindows:
    """The behaviours of impression n are `order[first_N[n]:last_N[n]]`, oldest first.

    Attributes:
        order_B: rows of the behaviours table, sorted by user and time; simultaneous ones keep their order.
    """

    order_B: Positions
    first_N: Positions
    last_N: Positions


def find_windows(impressions: pl.DataFrame, behaviours: pl.DataFrame, *, max_behaviours: int) -> BehaviourWindows:
    """Find for every impression its user's newest `max_behaviours` behaviours that are strictly older.

    Later and simultaneous behaviours are excluded: a click must not predict itself, nor an item shown beside it.

    Args:
        impressions: columns user_id and timestamp.
        behaviours: columns user_id and timestamp, the latter of the same type.
    """
    events = pl.concat([table.select("user_id", "timestamp") for table in (behaviours, impressions)])
    user = events["user_id"].rank("dense").cast(pl.Int64).to_numpy()
    time = events["timestamp"].rank("dense").cast(pl.Int64).to_numpy()
    num_times = int(time.max()) + 1 if len(time) else 1
    key = user * num_times + time  # orders events by user, then time
    behaviour_key, impression_key = np.split(key, [len(behaviours)])
    order_B = np.argsort(behaviour_key, kind="stable")
    sorted_key = behaviour_key[order_B]
    last_N = np.searchsorted(sorted_key, impression_key, side="left")
    users_first_N = np.searchsorted(sorted_key, user[len(behaviours) :] * num_times, side="left")
    return BehaviourWindows(order_B, first_N=np.maximum(users_first_N, last_N - max_behaviours), last_N=last_N)


def count_in_windows(windows: BehaviourWindows, selected: NDArray[np.bool_]) -> Positions:
    """Count for each behaviour, in sorted order, the windows of the selected impressions that hold it: [B]."""
    steps = np.zeros(len(windows.order_B) + 1, dtype=np.int64)
    np.add.at(steps, windows.first_N[selected], 1)
    np.add.at(steps, windows.last_N[selected], -1)
    return np.cumsum(steps)[:-1]
