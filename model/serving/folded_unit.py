"""The activation unit at inference, folded."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.layers.activation_unit import LocalActivationUnit
from model.layers.dice import Dice
from model.serving.folded_mlp import Fold, FoldedMLP


# Legend: D = embedding width, H = first hidden width.
class FoldedUnit(nn.Module):
    """The same function as a trained `LocalActivationUnit` at inference, and in its place in a network."""

    def __init__(self, unit: LocalActivationUnit) -> None:
        super().__init__()
        self.dim = unit.dim
        w_q, w_k, w_d, w_p = torch.split(unit.first.weight.detach().double(), unit.dim, dim=1)
        query_HD, key_HD, product_HD = w_q + w_d, w_k - w_d, w_p
        bias_H, factor_H = unit.first.bias.detach().double(), None
        self.activation: nn.Module = unit.activation
        if isinstance(unit.activation, Dice):
            fold = Fold.of(unit.activation)
            query_HD, key_HD, product_HD = (w_HD * fold.scale_H[:, None] for w_HD in (query_HD, key_HD, product_HD))
            bias_H, self.activation, factor_H = (bias_H - fold.mean_H) * fold.scale_H, fold.activation, fold.factor_H
        self.rest = FoldedMLP.of(unit.rest, factor_I=factor_H)
        for name, tensor in (
            ("query_HD", query_HD),
            ("key_HD", key_HD),
            ("product_HD", product_HD),
            ("bias_H", bias_H),
        ):
            self.register_buffer(name, tensor.float())
        self.query_HD: Tensor
        self.key_HD: Tensor
        self.product_HD: Tensor
        self.bias_H: Tensor

    def project_candidates(self, query: Tensor) -> Tensor:
        """See `LocalActivationUnit.project_candidates`."""
        return torch.cat([query, F.linear(query, self.query_HD, self.bias_H)], dim=-1)

    def project_behaviours(self, keys: Tensor) -> Tensor:
        """See `LocalActivationUnit.project_behaviours`."""
        return torch.cat([keys, F.linear(keys, self.key_HD)], dim=-1)

    def forward(self, candidates: Tensor, behaviours: Tensor) -> Tensor:
        """See `LocalActivationUnit.forward`."""
        widths = [self.dim, self.bias_H.shape[0]]
        query, query_part = torch.split(candidates, widths, dim=-1)
        keys, key_part = torch.split(behaviours, widths, dim=-1)
        hidden = F.linear(query * keys, self.product_HD) + query_part + key_part
        weights: Tensor = self.rest(self.activation(hidden))
        return weights.squeeze(-1)
