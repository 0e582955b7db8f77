"""DIN's local activation unit: how much a behaviour matters to a candidate."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinrank.model.layers.dice import Dice
from dinrank.model.layers.embedding import take_rows
from dinrank.model.layers.interest import Pairs
from dinrank.model.layers.mlp import MLP, Activation
from dinrank.model.layers.tiled_unit import weigh_in_tiles


# Legend: U = users, C = candidates per user, T = behaviours, D = embedding width, H = first hidden width,
# P = pairs of a candidate and a behaviour, B = candidates of the batch, I = its distinct items, X = D + H.
class LocalActivationUnit(nn.Module):
    """A small MLP on [q, k, q − k, q∘k], the candidate's vector q and the behaviour's vector k; one raw weight out.

    The first layer is linear, so it is computed from its parts and the 4D-wide input never exists:

        [q, k, q − k, q∘k]·W + b = q·(W_q + W_d) + k·(W_k − W_d) + (q∘k)·W_p + b

    The parts in q alone and in k alone are computed once per candidate and once per behaviour, by `project_candidates`
    and `project_behaviours`, before the two meet. They meet by broadcasting: [U, C, 1, ·] with [U, 1, T, ·] gives
    [U, C, T], and pairs [P, ·] with pairs [P, ·] give [P].

    Args:
        dim: D.
        hidden: widths of the hidden layers, at least one.
        initial_weight: bias of the output at the start. At 1 every behaviour begins with weight 1, and DIN begins as
            sum pooling.

    Source: Zhou et al., KDD 2018, Fig. 2 right. Deviations: the product is element-wise, as in the authors' code (the
        paper draws an outer product); the weight is not normalised, as the paper says in section 4.3 (the authors'
        code scales and applies softmax).
    """

    def __init__(self, dim: int, hidden: Sequence[int], *, activation: Activation, initial_weight: float = 0.0) -> None:
        super().__init__()
        self.dim = dim
        self.first = nn.Linear(4 * dim, hidden[0])
        self.activation = activation.build(hidden[0])
        self.rest = MLP(hidden[0], hidden[1:], activation=activation)
        nn.init.constant_(self.rest.last.bias, initial_weight)

    def project_candidates(self, query: Tensor) -> Tensor:
        """[..., D] to [..., D + H]: the vector itself and its part of the first layer, bias included."""
        w_q, _, w_d, _ = self._first_weights()
        return torch.cat([query, F.linear(query, w_q + w_d, self.first.bias)], dim=-1)

    def project_behaviours(self, keys: Tensor) -> Tensor:
        """[..., D] to [..., D + H]: the vector itself and its part of the first layer."""
        _, w_k, w_d, _ = self._first_weights()
        return torch.cat([keys, F.linear(keys, w_k - w_d)], dim=-1)

    def forward(self, candidates: Tensor, behaviours: Tensor) -> Tensor:
        """The raw weight of each behaviour for each candidate.

        Args:
            candidates: from `project_candidates`.
            behaviours: from `project_behaviours`, of a shape that broadcasts with `candidates`.

        Returns:
            The broadcast shape without its last dimension.
        """
        widths = [self.dim, self.first.out_features]
        query, query_part = torch.split(candidates, widths, dim=-1)
        keys, key_part = torch.split(behaviours, widths, dim=-1)
        w_p = self._first_weights()[3]
        hidden = F.linear(query * keys, w_p) + query_part + key_part
        weights: Tensor = self.rest(self.activation(hidden))
        return weights.squeeze(-1)

    def weigh_pairs(self, candidates_BX: Tensor, behaviours_IX: Tensor, pairs: Pairs) -> Tensor:
        """The raw weight of each pair, [P]: `forward` on the rows that the pairs name, in tiles where that pays.

        Args:
            candidates_BX: from `project_candidates`, a row per candidate of the batch.
            behaviours_IX: from `project_behaviours`, a row per distinct item of the batch.
        """
        dices = [layer for layer in (self.activation, *self.rest.hidden) if isinstance(layer, Dice)]
        linears = [layer for layer in (*self.rest.hidden, self.rest.last) if isinstance(layer, nn.Linear)]
        if self.training and len(dices) == len(linears) and len(pairs.candidate_P) > 1:
            return weigh_in_tiles(candidates_BX, behaviours_IX, pairs, self._first_weights()[3], dices, linears)
        weights_P: Tensor = self(
            take_rows(candidates_BX, pairs.candidate_P), take_rows(behaviours_IX, pairs.behaviour_P)
        )
        return weights_P

    def _first_weights(self) -> tuple[Tensor, ...]:
        """W_q, W_k, W_d and W_p, each [H, D]."""
        return torch.split(self.first.weight, self.dim, dim=1)
