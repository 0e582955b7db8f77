import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.training.errors import ReplayError
from dinrank.training.replay.slates import SlateRule, Slates, make_slates


def log(*rows: tuple[str, int], split: str = "test") -> pl.DataFrame:
    """Impressions of these users at these times, in file order."""
    return pl.DataFrame(
        {"user_id": [user for user, _ in rows], "timestamp": [time for _, time in rows], "split": [split] * len(rows)}
    )


def slates_of(impressions: pl.DataFrame, *, slots: int = 1, window: int | None = None, split: str = "test") -> Slates:
    return make_slates(impressions, split, slots=slots, window=window, rng=np.random.default_rng(0))


def rows_of(slates: Slates) -> list[set[int]]:
    return [set(slates.rows_N[slates.of(slate)].tolist()) for slate in range(len(slates))]


LOG = log(("b", 7), ("a", 2), ("b", 7), ("a", 1), ("a", 2), ("c", 7), ("a", 3), ("a", 2), ("b", 9))


def test_impressions_of_a_user_at_one_moment_are_a_slate() -> None:
    slates = slates_of(LOG)
    assert (slates.rule, rows_of(slates), slates.user_S.tolist()) == (SlateRule.MOMENT, [{1, 4, 7}, {0, 2}], [0, 1])
    assert slates.moment_S.tolist() == [1, 0]
    assert slates.num_logged == 9


def test_a_slate_needs_more_candidates_than_slots() -> None:
    assert rows_of(slates_of(LOG, slots=2)) == [{1, 4, 7}]


def test_without_such_moments_all_impressions_of_a_user_are_a_slate() -> None:
    slates = slates_of(LOG, slots=3)
    assert (slates.rule, rows_of(slates), slates.moment_S.tolist()) == (SlateRule.USER, [{1, 3, 4, 6, 7}], [3])


def test_a_window_cuts_a_users_impressions_in_order_of_time() -> None:
    slates = slates_of(LOG, window=2)
    assert slates.rule is SlateRule.WINDOW
    assert rows_of(slates) == [{3, 1}, {4, 7}, {0, 2}]  # the fifth of a, the third of b and the only one of c are alone
    assert slates.moment_S.tolist() == [3, 4, 0]


def test_other_splits_are_left_out() -> None:
    both = pl.concat([log(("a", 1), ("a", 1), split="train"), log(("a", 1), ("b", 2), ("b", 2))])
    assert rows_of(slates_of(both)) == [{3, 4}]


def test_where_a_slates_first_impression_stands_says_nothing_of_its_place_in_the_file() -> None:
    """Clicked rows often come first in a log: ties must not follow it."""
    slates = slates_of(log(*((f"u{user}", 0) for user in range(1000) for _ in range(2))))
    first_in_file = sum(int(slates.rows_N[start] % 2 == 0) for start in slates.starts_S1[:-1])
    assert 430 < first_in_file < 570  # 4.4 standard deviations around 500, and the seed is fixed


@pytest.mark.parametrize(
    ("slots", "window", "split", "said"),
    [
        (5, None, "test", r"no user has 6 impressions.*fewer --slots"),
        (2, 2, "test", r"no window of 2 impressions of a user has 3 impressions.*longer --window"),
        (1, None, "valid", r"no impression of the split valid"),
    ],
)
def test_a_log_without_slates_is_refused_with_what_to_do(slots: int, window: int | None, split: str, said: str) -> None:
    with pytest.raises(ReplayError, match=said):
        slates_of(LOG, slots=slots, window=window, split=split)


@given(
    rows=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3)), min_size=1, max_size=30),
    slots=st.integers(1, 3),
    window=st.none() | st.integers(2, 5),
)
def test_every_slate_is_of_one_user_large_enough_and_begins_with_its_earliest(
    rows: list[tuple[str, int]], slots: int, window: int | None
) -> None:
    try:
        slates = slates_of(log(*rows), slots=slots, window=window)
    except ReplayError:
        return
    found = rows_of(slates)
    assert len(slates.rows_N) == len(set(slates.rows_N.tolist())) == sum(map(len, found))
    for slate, moment, user in zip(found, slates.moment_S, slates.user_S, strict=True):
        assert len(slate) > slots
        assert {rows[row][0] for row in slate} == {rows[moment][0]}
        assert rows[moment][1] == min(rows[row][1] for row in slate)
        assert sorted({rows[other][0] for other in slates.moment_S})[user] == rows[moment][0]
