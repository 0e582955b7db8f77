"""Training impressions as plain arrays: the same rows, in the same order, for every implementation."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.throughput.setting import NUM_SLOTS
from dinrank.model.bundle.catalogue import PADDING_ROW
from dinrank.model.bundle.encoding import Indices
from dinrank.model.bundle.schema import ITEM_ID, Group, Kind
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.data.split import TRAIN


# Legend: N = impressions, T = slots of a padded history.
def read_encoded(path: Path, attribute: str) -> EncodedDataset:
    """Read the dataset with two features, item_id and `attribute`, for all three networks."""
    return encode_dataset(_with_two_features(read_dataset(path), attribute), min_count=1)


def _with_two_features(dataset: Dataset, attribute: str) -> Dataset:
    """Keep two features and histories of `NUM_SLOTS`, whatever the dataset declares.

    Raises:
        ValueError: the dataset has no such single-valued item feature; the message names the existing ones.
    """
    usable = {f.name: f for f in dataset.group(Group.ITEM) if f.kind is Kind.SINGLE}
    if attribute not in usable or attribute == ITEM_ID or ITEM_ID not in usable:
        others = ", ".join(name for name in usable if name != ITEM_ID) or "none"
        raise ValueError(f"{attribute!r} is no single-valued item attribute beside item_id; there are: {others}")
    return replace(dataset, features=(usable[ITEM_ID], usable[attribute]), max_behaviours=NUM_SLOTS)


def choose_impressions(data: EncodedDataset, number: int, *, full_only: bool, seed: int) -> Indices:
    """Choose training rows in random order; in several passes, each reshuffled, if `number` exceeds their count.

    Args:
        full_only: only those with `NUM_SLOTS` behaviours, so that there is no padding.

    Raises:
        ValueError: there is none.
    """
    rows = data.split_rows[TRAIN]
    if full_only:
        rows = rows[(data.last_N - data.first_N)[rows] == NUM_SLOTS]
    if not len(rows):
        raise ValueError(f"no training row has {NUM_SLOTS} behaviours: measure without --full-histories")
    rng = np.random.default_rng(seed)
    passes = [rng.permutation(rows) for _ in range(math.ceil(number / len(rows)))]
    return np.concatenate(passes)[:number]


def to_arrays(data: EncodedDataset, impressions: Indices, attribute: str) -> dict[str, NDArray[Any]]:
    """Convert to the libraries' inputs: an index per feature and slot, histories oldest first, padded with 0 at the
    end.

    DeepCTR-Torch expects a feature's history to be named `hist_` and the feature's name.

    Returns:
        impression [N], the rows of `data`; item_id and attribute [N], hist_item_id and hist_attribute [N, T],
        hist_length [N], clicked [N]; num_item_id and num_attribute, the table sizes.
    """
    position_NT = data.first_N[impressions][:, None] + np.arange(NUM_SLOTS)
    is_real_NT = position_NT < data.last_N[impressions][:, None]
    history_NT = np.full(position_NT.shape, PADDING_ROW, dtype=np.int64)
    history_NT[is_real_NT] = data.behaviour_rows_B[position_NT[is_real_NT]]
    candidate = data.encoder.catalogue.features(data.candidate_rows_N[impressions])
    history = data.encoder.catalogue.features(history_NT)
    sizes = {feature.name: feature.num_indices for feature in data.encoder.schema.features}
    return {
        "impression": impressions,
        "item_id": candidate[ITEM_ID],
        "attribute": candidate[attribute],
        "hist_item_id": history[ITEM_ID],
        "hist_attribute": history[attribute],
        "hist_length": is_real_NT.sum(axis=1),
        "clicked": data.clicked_N[impressions],
        "num_item_id": np.array(sizes[ITEM_ID]),
        "num_attribute": np.array(sizes[attribute]),
    }
