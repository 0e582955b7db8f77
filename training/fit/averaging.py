"""Weight averaging: an average of the network's recent weights generalises better than those of the last step."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from dinrank.model.nets.registry import Network
from dinrank.training.fit.lazy_rows import LazyRows

REACH = 0.1  # share of all steps so far that carries most of the average's weight


class AveragedNetwork:
    """Keeps `network`, a copy whose weights and statistics are averages of the trained one's.

    The n-th update moves the average towards the newest state by 1 / (1 + REACH·n): it always looks back over about
    the last tenth of the steps so far, so it forgets the start and needs no tuning to the length of the training.

    Layers and statistics are averaged at each update. Rows of embedding tables follow when they are next read or
    when all are asked for (`bring_up_to_date`), so a step costs what its batch touches.

    Args:
        every: steps between two updates; 1 or more.
        table_decay: every row of the trained tables is multiplied by this after each step. It is done here because
            the average of a pending row must account for the row's decay meanwhile.

    Source: polynomial-decay averaging, Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization",
        ICML 2013, section 4.
    """

    def __init__(self, trained: Network, *, every: int, table_decay: float = 1.0) -> None:
        self.network = copy.deepcopy(trained)
        self._every = every
        self._num_steps = 0
        tables = list(zip(_tables(trained), _tables(self.network), strict=True))
        self._rows = LazyRows(tables, decay=table_decay)
        in_tables = {table.weight.data_ptr() for table, _ in tables}
        averages = self.network.state_dict()
        self._dense = [
            (newest, averages[name])
            for name, newest in trained.state_dict().items()
            if newest.data_ptr() not in in_tables
        ]

    def after_step(self) -> None:
        """Call after every training step."""
        self._num_steps += 1
        self._rows.assert_read()
        self._rows.decay_all()
        if self._num_steps % self._every == 0:
            self._update()

    def before_look(self) -> None:
        """Include the present state, up to the last row: a small data set may have fewer steps than `every`."""
        self._update()
        self.bring_up_to_date()

    def bring_up_to_date(self) -> None:
        """Bring all rows of both networks' tables up to date; costs a pass over all of them."""
        self._rows.bring_all_up_to_date()

    def close(self) -> None:
        """Call when training ends: the trained network is an ordinary one again."""
        self._rows.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; call right after a look, when no row is pending."""
        return {"network": self.network.state_dict(), "num_steps": self._num_steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self._num_steps = state["num_steps"]

    @torch.no_grad()
    def _update(self) -> None:
        share = 1.0 / (1.0 + REACH * self._num_steps / self._every)
        self._rows.average_all(share)
        for newest, average in self._dense:
            if average.is_floating_point():
                average.lerp_(newest, share)
            else:
                average.copy_(newest)  # a counter has no average


def _tables(network: nn.Module) -> list[nn.Embedding]:
    return [module for module in network.modules() if isinstance(module, nn.Embedding)]
