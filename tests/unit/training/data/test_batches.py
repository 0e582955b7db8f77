"""Batches against the dataset's arrays, one impression at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.training.data.batches import Batch, HistoryThinning, batches, make_batch
from dinrank.training.data.encoded import EncodedDataset


def items_of(batch: Batch, positions: list[int]) -> dict[str, list[object]]:
    """The features of items of the batch, by position in `items`."""
    return {name: indices[positions].tolist() for name, indices in batch.inputs.items.items()}


def catalogue_items(data: EncodedDataset, rows: np.ndarray) -> dict[str, list[object]]:
    return {name: column[rows].tolist() for name, column in data.encoder.catalogue.columns.items()}


def history(data: EncodedDataset, impression: int) -> np.ndarray:
    return data.behaviour_rows_B[data.first_N[impression] : data.last_N[impression]]


@settings(deadline=None, max_examples=40)
@given(choice=st.data())
def test_a_batch_holds_each_impression_with_its_history(encoded_dataset: EncodedDataset, choice: st.DataObject) -> None:
    data = encoded_dataset
    rows = st.integers(0, len(data.clicked_N) - 1)
    impressions = np.array(choice.draw(st.lists(rows, min_size=1, max_size=8)), dtype=np.int64)
    batch = make_batch(data, impressions)
    inputs = batch.inputs
    assert inputs.is_real_UT is not None
    assert inputs.behaviours_UT.shape[1] == max(len(history(data, row)) for row in impressions)
    for user, row in enumerate(impressions):
        candidate, real = inputs.candidates_UC[user].tolist(), inputs.is_real_UT[user]
        assert items_of(batch, candidate) == catalogue_items(data, data.candidate_rows_N[[row]])
        assert real.tolist() == sorted(real.tolist(), reverse=True)  # padding comes last
        behaviours = inputs.behaviours_UT[user][real].tolist()
        assert items_of(batch, behaviours) == catalogue_items(data, history(data, row))
        assert batch.clicked_UC[user].tolist() == [data.clicked_N[row]]
        for name, indices in inputs.request.items():
            assert indices[user].tolist() == data.request[name][row].tolist()


def test_each_distinct_item_is_in_the_batch_once(encoded_dataset: EncodedDataset) -> None:
    impressions = encoded_dataset.split_rows["test"]
    batch = make_batch(encoded_dataset, impressions)
    seen = {int(row) for impression in impressions for row in history(encoded_dataset, impression)}
    seen |= set(encoded_dataset.candidate_rows_N[impressions].tolist())
    rows = batch.item_rows_I.tolist()
    assert len(rows) == len(set(rows))
    assert set(rows) - {0} == seen  # and at most the padding item besides
    assert items_of(batch, list(range(len(rows)))) == catalogue_items(encoded_dataset, batch.item_rows_I.numpy())


def test_a_batch_of_new_users_has_no_slot(encoded_dataset: EncodedDataset) -> None:
    new = np.flatnonzero(encoded_dataset.first_N == encoded_dataset.last_N)[:3]
    batch = make_batch(encoded_dataset, new)
    assert batch.inputs.behaviours_UT.shape == (3, 0)
    assert batch.inputs.candidates_UC.shape == (3, 1)


@pytest.mark.parametrize("batch_size", [1, 7, 100])
def test_batches_hold_the_impressions_in_the_given_order(encoded_dataset: EncodedDataset, batch_size: int) -> None:
    impressions = np.random.default_rng(0).permutation(encoded_dataset.split_rows["valid"])[:29]
    made = list(batches(encoded_dataset, impressions, batch_size))
    sizes = [len(batch.clicked_UC) for batch in made]
    assert sizes == [min(batch_size, 29 - begin) for begin in range(0, 29, batch_size)]
    positions = [int(encoded_dataset.request["position"][row]) for row in impressions]
    assert [index for batch in made for index in batch.inputs.request["position"].tolist()] == positions


def test_thinning_drops_behaviours_from_the_batch_and_nothing_else(encoded_dataset: EncodedDataset) -> None:
    data, impressions = encoded_dataset, encoded_dataset.split_rows["train"][-64:]
    whole = make_batch(data, impressions)
    thinned = make_batch(data, impressions, HistoryThinning(1.0, np.random.default_rng(0)))
    assert whole.inputs.is_real_UT is not None and thinned.inputs.is_real_UT is not None
    is_dropped_UT = whole.inputs.is_real_UT & ~thinned.inputs.is_real_UT
    assert is_dropped_UT.any()
    assert not (thinned.inputs.is_real_UT & ~whole.inputs.is_real_UT).any()
    for user, row in enumerate(impressions):
        kept = thinned.inputs.is_real_UT[user]
        behaviours = thinned.inputs.behaviours_UT[user][kept].tolist()
        expected = history(data, row)[kept[: len(history(data, row))].numpy()]
        assert items_of(thinned, behaviours) == catalogue_items(data, expected)
        assert items_of(thinned, thinned.inputs.candidates_UC[user].tolist()) == catalogue_items(
            data, data.candidate_rows_N[[row]]
        )


def test_no_dropout_keeps_every_behaviour() -> None:
    is_real_UT = np.array([[True, True, False]])
    assert HistoryThinning(0.0, np.random.default_rng(0)).keep(is_real_UT).tolist() == [[True, True, False]]


@pytest.mark.parametrize("max_dropout", [0.5, 1.0])
def test_each_row_drops_with_a_probability_of_its_own(max_dropout: float) -> None:
    """p is uniform between 0 and m: rows keep 1 − m/2 of their behaviours on average, with a standard deviation of
    m/√12 between rows (one probability for all rows would give none)."""
    num_rows = 4000
    kept_UT = HistoryThinning(max_dropout, np.random.default_rng(0)).keep(np.ones((num_rows, 400), dtype=bool))
    share_U = kept_UT.mean(axis=1)
    # Six standard errors of the mean; the deviation between rows within 5 %.
    assert share_U.mean() == pytest.approx(1 - max_dropout / 2, abs=6 * max_dropout / np.sqrt(12 * num_rows))
    assert share_U.std() == pytest.approx(max_dropout / np.sqrt(12), rel=0.05)
