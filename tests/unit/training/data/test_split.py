import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.training.data.split import TEST, TRAIN, VALID, require_both_classes, split_by_time
from dinrank.training.errors import DatasetError


def splits(timestamps: list[int]) -> list[str]:
    return split_by_time(pl.DataFrame({"timestamp": timestamps}))["split"].to_list()


def test_ten_moments_are_split_8_1_1_whatever_their_order() -> None:
    assert splits([9, 0, 8, 1, 7, 2, 6, 3, 5, 4]) == [TEST, TRAIN, VALID, *[TRAIN] * 7]


def test_simultaneous_rows_stay_together_on_the_later_side() -> None:
    """The 8 earliest of 10 rows would train, but rows 7 to 9 (0-based) are simultaneous, and row 9 is in `test`."""
    assert splits([0, 1, 2, 3, 4, 5, 6, 7, 7, 7]) == [TRAIN] * 7 + [TEST] * 3
    assert splits([0, 1, 2, 3, 4, 5, 6, 7, 7, 8]) == [TRAIN] * 7 + [VALID] * 2 + [TEST]


def test_the_rows_keep_their_order_and_columns() -> None:
    table = pl.DataFrame({"item_id": ["b", "a"], "timestamp": [2, 1]})
    assert split_by_time(table).drop("split").equals(table)


@settings(deadline=None)
@given(timestamps=st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_every_training_row_is_older_than_every_later_split(timestamps: list[int]) -> None:
    by_split: dict[str, list[int]] = {TRAIN: [], VALID: [], TEST: []}
    for split, timestamp in zip(splits(timestamps), timestamps, strict=True):
        by_split[split].append(timestamp)
    for earlier, later in ((TRAIN, VALID), (VALID, TEST), (TRAIN, TEST)):
        assert max(by_split[earlier], default=-1) < min(by_split[later], default=99)
    assert len(by_split[TRAIN]) <= 0.8 * len(timestamps)
    assert len(by_split[TRAIN]) + len(by_split[VALID]) <= 0.9 * len(timestamps)


@settings(deadline=None)
@given(num_rows=st.integers(10, 200))
def test_distinct_moments_are_split_within_a_row_of_80_10_10(num_rows: int) -> None:
    found = splits(list(range(num_rows)))
    for split, share in ((TRAIN, 0.8), (VALID, 0.1), (TEST, 0.1)):
        assert abs(found.count(split) - share * num_rows) < 1


def test_a_split_without_a_user_of_both_classes_is_refused() -> None:
    """In valid user 1 clicked and user 2 did not; in test user 1 did both."""
    impressions = pl.DataFrame(
        {
            "user_id": ["1", "2", "1", "1"],
            "clicked": [True, False, True, False],
            "split": ["valid", "valid", "test", "test"],
        }
    )
    with pytest.raises(DatasetError, match="clicked and not-clicked impressions in valid"):
        require_both_classes(impressions)
    require_both_classes(impressions.with_columns(user_id=pl.lit("1")))
