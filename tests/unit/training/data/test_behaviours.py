"""Which behaviours an impression may see, against a loop over all events."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.training.data.behaviours import BehaviourWindows, count_in_windows, find_windows

Event = tuple[str, int]  # user and time

# Few users and times, so that simultaneous events and users without behaviours are common.
events = st.lists(st.tuples(st.sampled_from(["a", "b", "b2", "c"]), st.integers(-3, 4)), max_size=25)


def table(rows: list[Event]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"user_id": pl.String, "timestamp": pl.Int64}, orient="row")


def window(windows: BehaviourWindows, impression: int) -> list[int]:
    """Rows of the behaviours table that the impression sees, oldest first."""
    rows: list[int] = windows.order_B[windows.first_N[impression] : windows.last_N[impression]].tolist()
    return rows


def rows_by_brute_force(impression: Event, behaviours: list[Event], max_behaviours: int) -> list[int]:
    user, time = impression
    older = [row for row, (other, then) in enumerate(behaviours) if other == user and then < time]
    return sorted(older, key=lambda row: (behaviours[row][1], row))[-max_behaviours:]


@settings(deadline=None, max_examples=200)
@given(impressions=events, behaviours=events, max_behaviours=st.integers(1, 5))
def test_a_window_is_exactly_the_newest_strictly_older_behaviours_of_the_user(
    impressions: list[Event], behaviours: list[Event], max_behaviours: int
) -> None:
    """In the order of time, simultaneous behaviours in file order; nothing later and nothing simultaneous."""
    windows = find_windows(table(impressions), table(behaviours), max_behaviours=max_behaviours)
    assert sorted(windows.order_B.tolist()) == list(range(len(behaviours)))
    for row, impression in enumerate(impressions):
        assert window(windows, row) == rows_by_brute_force(impression, behaviours, max_behaviours)


@settings(deadline=None)
@given(impressions=events, behaviours=events, max_behaviours=st.integers(1, 5), data=st.data())
def test_counts_are_the_windows_of_selected_impressions_that_hold_a_behaviour(
    impressions: list[Event], behaviours: list[Event], max_behaviours: int, data: st.DataObject
) -> None:
    windows = find_windows(table(impressions), table(behaviours), max_behaviours=max_behaviours)
    selected = data.draw(st.lists(st.booleans(), min_size=len(impressions), max_size=len(impressions)))
    seen = [row for place, is_selected in enumerate(selected) if is_selected for row in window(windows, place)]
    expected = [seen.count(row) for row in windows.order_B.tolist()]
    assert count_in_windows(windows, np.array(selected, dtype=bool)).tolist() == expected


def test_a_click_is_no_evidence_for_itself_nor_for_an_item_shown_beside_it() -> None:
    behaviours = table([("a", 1), ("a", 2), ("a", 2), ("b", 1)])
    windows = find_windows(table([("a", 2), ("a", 1), ("a", 3)]), behaviours, max_behaviours=10)
    assert [window(windows, row) for row in range(3)] == [[0], [], [0, 1, 2]]


@pytest.mark.parametrize("kind", ["float", "datetime"])
def test_times_may_be_of_any_ordered_type(kind: str) -> None:
    moments = [0.25, 0.5, 0.75]
    times = moments if kind == "float" else [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in moments]
    events = pl.DataFrame({"user_id": ["a"] * 3, "timestamp": times})
    windows = find_windows(events, events, max_behaviours=10)
    assert [window(windows, row) for row in range(3)] == [[], [0], [0, 1]]
