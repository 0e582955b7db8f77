"""Dice, the data-adaptive activation function."""

import torch
from torch import Tensor, nn


class Dice(nn.Module):
    """f(s) = p(s)·s + (1 − p(s))·α·s with p(s) = sigmoid((s − E[s]) / √(Var[s] + ε)), per hidden unit.

    In training E and Var are the mean and the (biased) variance over all leading dimensions of the batch, so callers
    pass real positions only. Moving averages of the mean and, as in batch normalisation, the unbiased variance are
    kept and used at inference. A batch of a single position has no variance and uses the moving averages too. α is
    learned, one per unit, and starts at 0.

    The n-th batch has the weight 1/n in the moving averages until that falls below `momentum`: the initial values never
    count. After a hundred batches they would still outweigh the small variances of a young network.

    Args:
        width: number of hidden units, the size of the last dimension.
        momentum: least weight of the newest batch in the moving averages.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 5.2, Eq. 9;
        ε = 1e-8 as there.
    """

    def __init__(self, width: int, *, momentum: float = 0.01, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.momentum = momentum
        self.epsilon = epsilon
        self.alpha = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))
        self.register_buffer("num_batches", torch.zeros(()))
        self.running_mean: Tensor
        self.running_var: Tensor
        self.num_batches: Tensor

    def forward(self, s: Tensor) -> Tensor:
        p = torch.sigmoid(self._normalise(s))
        return s * (self.alpha + p * (1.0 - self.alpha))

    def record(self, mean: Tensor, variance: Tensor, num_positions: int) -> None:
        """Add a batch's statistics, computed elsewhere, to the moving averages.

        Args:
            variance: the biased one, as the formula has it; the averages are of the unbiased one.
            num_positions: at least two.
        """
        weight = self._next_weight()
        self.running_mean.lerp_(mean, weight)
        self.running_var.lerp_(variance * (num_positions / (num_positions - 1)), weight)

    def _next_weight(self) -> float:
        self.num_batches += 1
        return max(self.momentum, 1.0 / float(self.num_batches))

    def _normalise(self, s: Tensor) -> Tensor:
        num_positions = s[..., 0].numel() if self.training else 0
        if num_positions < 2:
            return (s - self.running_mean) * torch.rsqrt(self.running_var + self.epsilon)
        normalised = nn.functional.batch_norm(
            s.reshape(-1, s.shape[-1]),
            self.running_mean,
            self.running_var,
            training=True,
            momentum=self._next_weight(),
            eps=self.epsilon,
        )
        return normalised.view_as(s)
