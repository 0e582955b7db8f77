"""What the other libraries are given is what our own batches hold."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench.throughput.arrays import choose_impressions, read_encoded, to_arrays
from bench.throughput.setting import NUM_SLOTS
from dinrank.training.data.batches import make_batch
from dinrank.training.data.encoded import EncodedDataset


@pytest.fixture(scope="module")
def data(dataset_path: Path) -> EncodedDataset:
    return read_encoded(dataset_path, "category")


def test_the_arrays_hold_what_a_batch_of_the_same_rows_holds(data: EncodedDataset) -> None:
    impressions = choose_impressions(data, 200, full_only=False, seed=0)
    arrays, inputs = to_arrays(data, impressions, "category"), make_batch(data, impressions).inputs
    assert inputs.is_real_UT is not None
    num_slots = inputs.is_real_UT.shape[1]
    assert 0 < num_slots < NUM_SLOTS
    assert arrays["hist_length"].tolist() == inputs.is_real_UT.sum(dim=1).tolist()
    for feature, name in (("item_id", "item_id"), ("category", "attribute")):
        indices = inputs.items[feature]
        assert arrays[name].tolist() == indices[inputs.candidates_UC[:, 0]].tolist()
        history_UT = indices[inputs.behaviours_UT] * inputs.is_real_UT
        assert arrays[f"hist_{name}"][:, :num_slots].tolist() == history_UT.tolist()
        assert not arrays[f"hist_{name}"][:, num_slots:].any()
        assert arrays[f"num_{name}"] > max(arrays[name].max(), arrays[f"hist_{name}"].max())
    assert arrays["clicked"].tolist() == data.clicked_N[impressions].tolist()


def test_every_training_row_comes_once_a_pass(data: EncodedDataset) -> None:
    train = sorted(data.split_rows["train"].tolist())
    impressions = choose_impressions(data, 2 * len(train) + 7, full_only=False, seed=0).tolist()
    first, second, rest = impressions[: len(train)], impressions[len(train) : 2 * len(train)], impressions[-7:]
    assert sorted(first) == sorted(second) == train
    assert first != second
    assert len(set(rest)) == 7


def test_full_histories_alone_can_be_asked_for(data: EncodedDataset) -> None:
    with pytest.raises(ValueError, match="measure without --full-histories"):
        choose_impressions(data, 1, full_only=True, seed=0)
    first_N = data.first_N.copy()
    full = data.split_rows["train"][-3:]
    first_N[full] = data.last_N[full] - NUM_SLOTS
    chosen = choose_impressions(replace(data, first_N=first_N), 3, full_only=True, seed=0)
    assert set(chosen.tolist()) == set(full.tolist())


@pytest.mark.parametrize("attribute", ["tags", "gender", "item_id", "colour"])
def test_an_attribute_that_is_no_single_valued_one_of_items_is_refused(dataset_path: Path, attribute: str) -> None:
    with pytest.raises(ValueError, match=f"'{attribute}' is no single-valued item attribute .* there are: category"):
        read_encoded(dataset_path, attribute)
