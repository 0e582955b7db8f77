"""What the other libraries are given is what our own batches hold."""

from pathlib import Path

import numpy as np
import pytest

from bench.throughput.arrays import choose_impressions, read_encoded, to_arrays
from bench.throughput.setting import NUM_SLOTS
from training.data.batches import make_batch
from training.data.encoded import EncodedDataset


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


def test_rows_are_training_rows_and_none_comes_twice(data: EncodedDataset) -> None:
    impressions = choose_impressions(data, 100, full_only=False, seed=0)
    assert len(set(impressions.tolist())) == 100
    assert np.isin(impressions, data.split_rows["train"]).all()


def test_rows_that_are_not_there_are_refused(data: EncodedDataset) -> None:
    with pytest.raises(ValueError, match="fewer rounds or batches"):
        choose_impressions(data, len(data.split_rows["train"]) + 1, full_only=False, seed=0)
    with pytest.raises(ValueError, match="1 training rows wanted, 0 there"):
        choose_impressions(data, 1, full_only=True, seed=0)


@pytest.mark.parametrize("attribute", ["tags", "gender", "item_id", "colour"])
def test_an_attribute_that_is_no_single_valued_one_of_items_is_refused(dataset_path: Path, attribute: str) -> None:
    with pytest.raises(ValueError, match=f"'{attribute}' is no single-valued item attribute .* there are: category"):
        read_encoded(dataset_path, attribute)
