"""Lazy updates of embedding tables: operations on all rows, deferred per row until the row is read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

_SLICE = 1 << 20  # rows per step of a pass over a whole table

_SMALLEST = 1e-100  # of a running product; below it all rows are brought up to date and the products restart


# Legend: J = rows read together, L = rows of a table, D = width, K = events since all rows were last up to date.
@dataclass(frozen=True, slots=True)
class _Table:
    """Attributes:
    mark_L: the event up to which a row is up to date.
    """

    trained: nn.Embedding
    weight_LD: Tensor
    average_LD: Tensor
    mark_L: Tensor


class LazyRows:
    """Decays tables and averages their rows, at a cost proportional to the rows read.

    Two events concern every row: a decay, w ← ρ·w, and an update of the average, a ← (1 − share)·a + share·w. Both are
    linear, so any number of them between two gradients of a row is equivalent to

        a ← d·a + s·w        w ← r·w

    where r, d and s follow from three running numbers, now and at the row's last event (primed):

        R = Π ρ        D = Π (1 − share)        S = Σ share·R / D, each term with R and D right after its update
        r = R / R'     d = D / D'               s = D·(S − S') / R'

    That is exact up to rounding. A row is brought up to date whenever a table's module looks it up, so the network
    always reads what a pass over the whole table would have left. The network must call the module: direct access to
    the weights is caught by `assert_read`.

    Args:
        tables: the trained tables, each with the table of its average.
        decay: ρ, above 0 and at most 1.
    """

    def __init__(self, tables: Sequence[tuple[nn.Embedding, nn.Embedding]], *, decay: float) -> None:
        self._decay = decay
        self._tables: list[_Table] = []
        self._hooks = []
        for trained, average in tables:
            marks_L = torch.zeros(len(trained.weight), dtype=torch.int32)
            table = _Table(trained, trained.weight.detach(), average.weight.detach(), marks_L)
            self._tables.append(table)
            self._hooks.append(trained.register_forward_pre_hook(self._reader(table)))
        self._events_K3 = torch.tensor([[1.0, 1.0, 0.0]], dtype=torch.float64)  # R, D and S after each event
        self._now = 0

    def decay_all(self) -> None:
        """Multiply every row by ρ, lazily."""
        if self._decay < 1.0:
            r, d, s = self._events_K3[self._now].tolist()
            self._append(r * self._decay, d, s)

    def average_all(self, share: float) -> None:
        """Move every average towards its row by `share`, above 0 and below 1, lazily."""
        r, d, s = self._events_K3[self._now].tolist()
        d *= 1.0 - share
        self._append(r, d, s + share * r / d)

    def assert_read(self) -> None:
        """Call after a step: assert that every row with a gradient was read through its module."""
        for table in self._tables:
            if (gradient := table.trained.weight.grad) is not None:
                marks = table.mark_L.index_select(0, gradient._indices()[0])
                assert bool((marks == self._now).all()), "a network reads an embedding table without its module"

    @torch.no_grad()
    def bring_all_up_to_date(self) -> None:
        """Apply all deferred updates in a pass over all tables."""
        for table in self._tables:
            for begin in range(0, len(table.mark_L), _SLICE):
                rows = slice(begin, begin + _SLICE)
                r, d, s = self._factors(table, table.mark_L[rows])
                table.average_LD[rows].mul_(d).addcmul_(table.weight_LD[rows], s)
                table.weight_LD[rows].mul_(r)
            table.mark_L.zero_()
        self._events_K3[0] = torch.tensor([1.0, 1.0, 0.0])
        self._now = 0

    def close(self) -> None:
        """Detach from the tables: reading them no longer brings rows up to date."""
        for hook in self._hooks:
            hook.remove()

    def _reader(self, table: _Table) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, looked_up: self._bring_up_to_date(table, looked_up[0].flatten())

    @torch.no_grad()
    def _bring_up_to_date(self, table: _Table, rows_J: Tensor) -> None:
        """Apply the deferred updates to these rows, which may repeat."""
        mark_J = table.mark_L.index_select(0, rows_J)
        rows_J, mark_J = rows_J[mark_J != self._now], mark_J[mark_J != self._now]
        if not len(rows_J):
            return
        r, d, s = self._factors(table, mark_J)
        weight_JD = table.weight_LD.index_select(0, rows_J)
        average_JD = table.average_LD.index_select(0, rows_J).mul_(d).addcmul_(weight_JD, s)
        table.average_LD.index_copy_(0, rows_J, average_JD)
        if self._decay < 1.0:
            table.weight_LD.index_copy_(0, rows_J, weight_JD.mul_(r))
        table.mark_L.index_fill_(0, rows_J, self._now)

    def _factors(self, table: _Table, marks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """r, d and s for rows with these marks, [marks, 1] each."""
        r_then, d_then, s_then = self._events_K3.index_select(0, marks).unsqueeze(-1).unbind(1)
        r, d, s = self._events_K3[self._now]
        factors = (r / r_then, d / d_then, d * (s - s_then) / r_then)
        r, d, s = (factor.to(table.weight_LD.dtype) for factor in factors)
        return r, d, s

    def _append(self, r: float, d: float, s: float) -> None:
        self._now += 1
        if self._now == len(self._events_K3):
            self._events_K3 = torch.cat([self._events_K3, torch.empty_like(self._events_K3)])
        self._events_K3[self._now] = torch.tensor([r, d, s], dtype=torch.float64)
        if min(r, d) < _SMALLEST:
            self.bring_all_up_to_date()
