"""Which pairs a table covers: against counting by hand and against trying everything."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle.catalogue import FIRST_ROW, UNKNOWN_ROW
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TRAIN
from dinrank.training.errors import TableError
from dinrank.training.table.plan import TrainingCounts, plan_table, training_counts

counts = st.lists(st.integers(0, 5), min_size=1, max_size=6).map(lambda known: np.array([0, 1, *known]))


def test_counts_are_those_of_the_training_rows(dataset: Dataset, encoded_dataset: EncodedDataset) -> None:
    found = training_counts(dataset, encoded_dataset.encoder.catalogue)
    ads, behaviours = np.zeros_like(found.ads_R), np.zeros_like(found.behaviours_R)
    for impression in encoded_dataset.split_rows[TRAIN]:
        ads[encoded_dataset.candidate_rows_N[impression]] += 1
        for place in range(encoded_dataset.first_N[impression], encoded_dataset.last_N[impression]):
            behaviours[encoded_dataset.behaviour_rows_B[place]] += 1
    assert found.ads_R.tolist() == ads.tolist()
    assert found.behaviours_R.tolist() == behaviours.tolist()
    assert behaviours.sum() > 0


def shares_by_size(rows: np.ndarray) -> list[float]:
    """What the unknown item and the so many most frequent others hold together."""
    known = sorted(rows[FIRST_ROW:], reverse=True)
    return [(rows[UNKNOWN_ROW] + sum(known[:more])) / rows.sum() for more in range(len(known) + 1)]


@given(ads=counts, behaviours=counts, num_pairs=st.integers(1, 40))
def test_no_other_choice_covers_more(ads: np.ndarray, behaviours: np.ndarray, num_pairs: int) -> None:
    """Every number of lines and columns is tried; the unknown item is always the first of both."""
    plan = plan_table(TrainingCounts(ads, behaviours), memory_bytes=4 * num_pairs)
    assert plan.ad_rows_A[0] == plan.item_rows_B[0] == UNKNOWN_ROW
    assert len(set(plan.ad_rows_A)) * len(set(plan.item_rows_B)) <= num_pairs
    shares = [shares_by_size(ads), shares_by_size(behaviours)]
    best = max(
        shares[0][more_ads] * shares[1][more_items]
        for more_ads in range(len(shares[0]))
        for more_items in range(len(shares[1]))
        if (more_ads + 1) * (more_items + 1) <= num_pairs
    )
    assert plan.ads_covered * plan.behaviours_covered == pytest.approx(best)
    assert plan.ads_covered == pytest.approx(ads[plan.ad_rows_A].sum() / ads.sum())
    assert plan.behaviours_covered == pytest.approx(behaviours[plan.item_rows_B].sum() / behaviours.sum())


def test_the_ads_that_were_named_are_the_lines() -> None:
    plan = plan_table(
        TrainingCounts(ads_R=np.array([0, 0, 5, 1, 4]), behaviours_R=np.array([0, 1, 1, 2, 6])),
        memory_bytes=4 * 3 * 2,
        ads=np.array([4, UNKNOWN_ROW, 3, 4]),
    )
    assert plan.ad_rows_A.tolist() == [UNKNOWN_ROW, 4, 3]
    assert plan.item_rows_B.tolist() == [UNKNOWN_ROW, 4]
    assert plan.ads_covered == pytest.approx(5 / 10)
    assert plan.behaviours_covered == pytest.approx(7 / 10)


def test_memory_for_less_than_the_named_ads_is_refused() -> None:
    some = TrainingCounts(ads_R=np.array([0, 0, 5, 1, 4]), behaviours_R=np.array([0, 1, 1, 2, 6]))
    with pytest.raises(TableError, match="12 bytes are needed for 3 ads and a single item, 11 are allowed"):
        plan_table(some, memory_bytes=11, ads=np.array([2, 3]))
