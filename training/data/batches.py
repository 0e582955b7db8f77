"""Batches: rows of an encoded dataset as network inputs."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinrank.model.bundle.catalogue import PADDING_ROW
from dinrank.model.bundle.encoding import Indices
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.training.data.encoded import EncodedDataset


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


@dataclass(frozen=True, slots=True)
class HistoryThinning:
    """Drops behaviours of training rows at random, each row's with a probability of its own.

    Attributes:
        max_dropout: that probability is drawn uniformly between 0 and this.
    """

    max_dropout: float
    rng: np.random.Generator

    def keep(self, is_real_UT: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the behaviours to keep, a subset of the real ones."""
        if self.max_dropout == 0.0:
            return is_real_UT
        dropout_U1 = self.rng.random((len(is_real_UT), 1), dtype=np.float32) * self.max_dropout
        return is_real_UT & (self.rng.random(is_real_UT.shape, dtype=np.float32) >= dropout_U1)


def make_batch(data: EncodedDataset, impressions: Indices, thinning: HistoryThinning | None = None) -> Batch:
    """Pad the impressions' histories to the longest among them and look up each distinct item once.

    Args:
        thinning: drops behaviours, in training; None keeps all.
    """
    first_U, last_U = data.first_N[impressions], data.last_N[impressions]
    slots_T = np.arange((last_U - first_U).max(initial=0))
    position_UT = first_U[:, None] + slots_T
    is_real_UT = position_UT < last_U[:, None]
    if thinning is not None:
        is_real_UT = thinning.keep(is_real_UT)
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


def batches(
    data: EncodedDataset, impressions: Indices, batch_size: int, *, thinning: HistoryThinning | None = None
) -> Iterator[Batch]:
    """Yield the impressions in the given order, `batch_size` at a time, the last batch smaller."""
    for begin in range(0, len(impressions), batch_size):
        yield make_batch(data, impressions[begin : begin + batch_size], thinning)


def _tensors(arrays: dict[str, Indices]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
