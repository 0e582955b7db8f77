"""Fully connected layers with the activations that the papers use."""

from collections.abc import Sequence
from enum import StrEnum

import torch
from torch import Tensor, nn

from dinrank.model.layers.dice import Dice


class Activation(StrEnum):
    DICE = "dice"
    PRELU = "prelu"
    RELU = "relu"

    def build(self, width: int) -> nn.Module:
        """A new activation for `width` hidden units; Dice and PReLU have one α per unit."""
        if self is Activation.DICE:
            return Dice(width)
        return PReLU(width) if self is Activation.PRELU else nn.ReLU()


class PReLU(nn.Module):
    """max(0, s) + α·min(0, s), one learned α per unit, the units being the last dimension (torch has them second).

    α starts at 0.25, as in He et al., "Delving Deep into Rectifiers", ICCV 2015.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.full((width,), 0.25))

    def forward(self, s: Tensor) -> Tensor:
        return s.clamp(min=0.0) + self.alpha * s.clamp(max=0.0)


class MLP(nn.Module):
    """Linear and activation for every hidden width, then a linear layer to one value, kept as a dimension of size 1.

    Args:
        dropout: probability of dropping a hidden unit after its activation, in training.
    """

    def __init__(self, input_dim: int, hidden: Sequence[int], *, activation: Activation, dropout: float = 0.0) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = input_dim
        for next_width in hidden:
            layers += [nn.Linear(width, next_width), activation.build(next_width), nn.Dropout(dropout)]
            width = next_width
        self.hidden = nn.Sequential(*layers)
        self.last = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.last(self.hidden(x))
        return last
