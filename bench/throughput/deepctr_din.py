"""DeepCTR-Torch's DIN, trained by its own `fit`.

Where it has a choice, this takes the faster one: no regulariser, no dropout, no metrics, no progress bar. Its input
pipeline: `fit` makes a tensor of its rows and batches them with a torch DataLoader. It has no public single step, so
`step` repeats the body of its loop.
"""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bench.throughput.setting import EMBEDDING_DIM, NUM_SLOTS, TOWER, UNIT, Setting
from bench.throughput.worker import Arrays, serve

# Importing the package starts a thread that asks the package index for a newer version, through a package that is not
# even a dependency. Both would disturb the measurement.
_no_version_check = ModuleType("deepctr_torch.utils")
_no_version_check.check_version = lambda version: None  # type: ignore[attr-defined]  # made up here
sys.modules["deepctr_torch.utils"] = _no_version_check

from deepctr_torch.inputs import SparseFeat, VarLenSparseFeat  # noqa: E402  only after the line above
from deepctr_torch.models import DIN  # noqa: E402

FEATURES = ("item_id", "attribute")


class Prepared(NamedTuple):
    inputs: Tensor
    clicked: Tensor


def make_columns(arrays: Arrays) -> list[SparseFeat | VarLenSparseFeat]:
    """Build columns; candidate and history share a table, and the prefix `hist_` tells DIN which is the history."""
    sizes = {name: int(arrays[f"num_{name}"]) for name in FEATURES}
    candidate = [SparseFeat(name, sizes[name], embedding_dim=EMBEDDING_DIM) for name in FEATURES]
    history = [
        VarLenSparseFeat(
            SparseFeat(f"hist_{name}", sizes[name], embedding_dim=EMBEDDING_DIM, embedding_name=name),
            maxlen=NUM_SLOTS,
            length_name="hist_length",
        )
        for name in FEATURES
    ]
    return [*candidate, *history]


class DeepCTR:
    def __init__(self, setting: Setting, arrays: Arrays) -> None:
        self._model = DIN(
            make_columns(arrays),
            list(FEATURES),
            dnn_hidden_units=TOWER,
            att_hidden_size=UNIT,
            att_activation="dice",
            l2_reg_embedding=0.0,
        )
        self._model.compile("adam", "binary_crossentropy")  # its learning rate is torch's default, 1e-3
        self._model.train()
        self._arrays = arrays
        self._batch_size = setting.batch_size
        self._next_row = 0

    def loop(self, num_batches: int) -> float:
        rows = self._take(num_batches)
        inputs = {name: self._arrays[name][rows] for name in self._model.feature_index}
        clicked = self._arrays["clicked"][rows]
        with redirect_stdout(StringIO()):  # it prints its progress, whatever `verbose` says
            history = self._model.fit(inputs, clicked, batch_size=self._batch_size, shuffle=False, verbose=0)
        return float(history.history["loss"][-1])

    def prepare(self, num_batches: int) -> Sequence[Prepared]:
        return [self._prepared(self._take(1)) for _ in range(num_batches)]

    def step(self, batch: Prepared) -> float:
        model = self._model
        predicted = model(batch.inputs).squeeze(-1)
        model.optim.zero_grad()
        loss = model.loss_func(predicted, batch.clicked, reduction="sum")
        total = loss + model.get_regularization_loss() + model.aux_loss
        total.backward()
        model.optim.step()
        return loss.item() / len(batch.clicked)

    def _take(self, num_batches: int) -> slice:
        first = self._next_row
        self._next_row += num_batches * self._batch_size
        return slice(first, self._next_row)

    def _prepared(self, rows: slice) -> Prepared:
        columns = [self._arrays[name][rows] for name in self._model.feature_index]
        columns = [column[:, None] if column.ndim == 1 else column for column in columns]
        inputs = torch.from_numpy(np.concatenate(columns, axis=-1)).float()
        return Prepared(inputs, torch.from_numpy(self._arrays["clicked"][rows]))


if __name__ == "__main__":
    serve(DeepCTR, "deepctr-torch")
