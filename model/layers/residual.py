"""The residual unit of Deep Crossing."""

from torch import Tensor, nn
from torch.nn import functional as F


class ResidualUnit(nn.Module):
    """relu(x + W₁·relu(W₀·x + b₀) + b₁).

    Source: Shan et al., "Deep Crossing: Web-Scale Modeling without Manually Crafted Combinatorial Features", KDD 2016,
        section 4.3.
    """

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, hidden)
        self.outer = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.outer(F.relu(self.inner(x))))
