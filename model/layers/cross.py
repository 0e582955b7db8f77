"""The cross layer of DCN."""

import torch
from torch import Tensor, nn


class CrossLayer(nn.Module):
    """x_{l+1} = x_0·(x_lᵀ·w) + b + x_l.

    Source: Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, Eq. 3.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Linear(width, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x_0: Tensor, x: Tensor) -> Tensor:
        crossed: Tensor = x_0 * self.weight(x) + self.bias + x
        return crossed
