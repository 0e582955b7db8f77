"""DIN as in papers' code and CTR libraries: a row per candidate, with the history repeated in each row.

Imports torch alone and nothing of the product: the alternative services use it.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Legend: N = rows, one per candidate; T = behaviours; D = width of an item.
INPUTS = ("item_N", "category_N", "behaviour_item_NT", "behaviour_category_NT", "segment_N", "hour_N")


class Dice(nn.Module):
    """Dice by batch normalisation without scale and shift, as in the published implementations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, eps=1e-8, affine=False)
        self.alpha = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        p = torch.sigmoid(self.norm(x.flatten(0, -2))).view_as(x)
        return p * x + (1 - p) * self.alpha * x


def mlp(input_dim: int, hidden: Sequence[int]) -> nn.Sequential:
    """Linear and Dice for each hidden width, then linear to one value."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(input_dim, width), Dice(width)]
        input_dim = width
    return nn.Sequential(*layers, nn.Linear(input_dim, 1))


class RepeatedDIN(nn.Module):
    """CTRs of N rows; the activation unit sees [q, k, q − k, q∘k] as one [N, T, 4D] tensor.

    Args:
        table_sizes: of items, categories, segments and hours.
        embedding_dim: D / 2.
    """

    def __init__(
        self, table_sizes: Sequence[int], *, embedding_dim: int, unit: Sequence[int], tower: Sequence[int]
    ) -> None:
        super().__init__()
        self.item, self.category, self.segment, self.hour = (nn.Embedding(size, embedding_dim) for size in table_sizes)
        self.unit = mlp(8 * embedding_dim, unit)
        self.tower = mlp(8 * embedding_dim, tower)

    def forward(
        self,
        item_N: Tensor,
        category_N: Tensor,
        behaviour_item_NT: Tensor,
        behaviour_category_NT: Tensor,
        segment_N: Tensor,
        hour_N: Tensor,
    ) -> Tensor:
        query_ND = torch.cat([self.item(item_N), self.category(category_N)], dim=-1)
        keys_NTD = torch.cat([self.item(behaviour_item_NT), self.category(behaviour_category_NT)], dim=-1)
        query_NTD = query_ND.unsqueeze(1).expand_as(keys_NTD)
        unit_input = torch.cat([query_NTD, keys_NTD, query_NTD - keys_NTD, query_NTD * keys_NTD], dim=-1)
        weights_NT1 = self.unit(unit_input)
        interest_ND = (weights_NT1 * keys_NTD).mean(dim=1)
        tower_input = [query_ND, interest_ND, interest_ND * query_ND, self.segment(segment_N), self.hour(hour_N)]
        logit_N1: Tensor = self.tower(torch.cat(tower_input, dim=-1))
        return torch.sigmoid(logit_N1).squeeze(-1)
