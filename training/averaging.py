"""A slower copy of the network: an average of its recent weights, which generalises better than the last step's."""

import copy

import torch

from model.nets.registry import Network

REACH = 0.1  # share of all steps so far over which most of the average's weight lies


class AveragedNetwork:
    """Keeps `network`, a copy whose weights and statistics are averages of the trained one's.

    The n-th update moves the average towards the newest state by 1 / (1 + REACH·n): it always looks back over about
    the last tenth of the steps so far, so it forgets the start and needs no tuning to the length of the training.

    Args:
        every: steps between two updates, which cost a pass over all weights, tables included; 1 or more.

    Source: polynomial-decay averaging, Shamir and Zhang, "Stochastic Gradient Descent for Non-smooth Optimization",
        ICML 2013, section 4.
    """

    def __init__(self, trained: Network, *, every: int) -> None:
        self.network = copy.deepcopy(trained)
        self._trained = trained
        self._every = every
        self._num_steps = 0

    def after_step(self) -> None:
        """To be called after every training step."""
        self._num_steps += 1
        if self._num_steps % self._every == 0:
            self.update()

    def update(self) -> None:
        """Take the present state in; before a look too, as a small data set may have fewer steps than `every`."""
        n = self._num_steps / self._every
        newest = self._trained.state_dict()
        with torch.no_grad():
            for name, average in self.network.state_dict().items():
                average.lerp_(newest[name], 1.0 / (1.0 + REACH * n))
