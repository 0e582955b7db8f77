"""A slower copy of the network: the moving average of its weights, which generalises better than the last step."""

import copy

import torch

from model.nets.registry import Network


class AveragedNetwork:
    """Keeps `network`, a copy whose weights and statistics are moving averages of the trained one's.

    The n-th update weighs the newest state with max(1 − decay, 1 / (n + 1)), so that the start is a plain mean and the
    random weights of the beginning are forgotten.

    Args:
        decay: share of the old average that an update keeps; 0 follows the trained network exactly.
        every: steps between two updates, which cost a pass over all weights, tables included.

    Source: Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992.
    """

    def __init__(self, trained: Network, *, decay: float, every: int) -> None:
        self.network = copy.deepcopy(trained)
        self._trained = trained
        self._decay = decay
        self._every = every
        self._num_steps = 0

    def after_step(self) -> None:
        """To be called after every training step."""
        self._num_steps += 1
        if self._num_steps % self._every == 0:
            self._update(self._num_steps // self._every)

    def _update(self, n: int) -> None:
        weight = max(1.0 - self._decay, 1.0 / (n + 1))
        newest = self._trained.state_dict()
        with torch.no_grad():
            for name, average in self.network.state_dict().items():
                average.lerp_(newest[name], weight)
