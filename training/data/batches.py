"""Rows of an encoded dataset to what a network takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from model.bundle.catalogue import PADDING_ROW
from model.bundle.encoding import Indices
from model.nets.inputs import NetworkInputs
from training.data.encoded import EncodedDataset


# Legend: U = impressions of the batch, C = 1 candidate each, T = longest history of the batch, I = distinct items.
@dataclass(frozen=True, slots=True)
class Batch:
    """Attributes:
    clicked_UC: 1.0 for a click, else 0.0.
    item_rows_I: catalogue rows of `inputs.items`.
    """

    inputs: NetworkInputs
    clicked_UC: Tensor
    item_rows_I: Tensor


def make_batch(data: EncodedDataset, impressions: Indices) -> Batch:
    """Pad the impressions' histories to the longest among them and look up each distinct item once."""
    first_U, last_U = data.first_N[impressions], data.last_N[impressions]
    slots_T = np.arange((last_U - first_U).max(initial=0))
    position_UT = first_U[:, None] + slots_T
    is_real_UT = position_UT < last_U[:, None]
    history_UT = np.full(position_UT.shape, PADDING_ROW, dtype=np.int64)
    history_UT[is_real_UT] = data.behaviour_rows_B[position_UT[is_real_UT]]
    rows = np.concatenate([data.candidate_rows_N[impressions], history_UT.ravel()])
    item_rows_I, where = np.unique(rows, return_inverse=True)
    candidates_UC, behaviours_UT = np.split(where, [len(impressions)])
    inputs = NetworkInputs(
        items=_tensors(data.encoder.catalogue.features(item_rows_I)),
        candidates_UC=torch.from_numpy(candidates_UC[:, None]),
        behaviours_UT=torch.from_numpy(behaviours_UT.reshape(history_UT.shape)),
        is_real_UT=torch.from_numpy(is_real_UT),
        request=_tensors({name: indices[impressions] for name, indices in data.request.items()}),
    )
    clicked_UC = torch.from_numpy(data.clicked_N[impressions][:, None])
    return Batch(inputs=inputs, clicked_UC=clicked_UC, item_rows_I=torch.from_numpy(item_rows_I))


def batches(data: EncodedDataset, impressions: Indices, batch_size: int) -> Iterator[Batch]:
    """The impressions in the given order, `batch_size` at a time, the last batch smaller."""
    for begin in range(0, len(impressions), batch_size):
        yield make_batch(data, impressions[begin : begin + batch_size])


def _tensors(arrays: dict[str, Indices]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
