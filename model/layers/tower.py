"""The MLP on top: everything known of a candidate and its request, to one logit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from model.layers.embedding import FeatureEmbedding
from model.layers.mlp import MLP


# Legend: U = users, C = candidates per user, F = width of the user and context features together.
class Tower(nn.Module):
    """Concatenate the candidates' vectors with those of user and context, then one MLP.

    Args:
        request_embedding: embeds user and context features, of which there may be none.
        mlp: from the concatenated width to 1.
    """

    def __init__(self, request_embedding: FeatureEmbedding, mlp: MLP) -> None:
        super().__init__()
        self.request_embedding = request_embedding
        self.mlp = mlp

    def forward(self, parts_UC: Sequence[Tensor], request: Mapping[str, Tensor]) -> Tensor:
        """logit_UC from per-candidate vectors [U, C, ·] and the indices of user and context features."""
        parts = list(parts_UC)
        if self.request_embedding.features:
            request_UF = self.request_embedding(request)
            parts.append(request_UF[:, None, :].expand(-1, parts[0].shape[1], -1))
        logit_UC: Tensor = self.mlp(torch.cat(parts, dim=-1)).squeeze(-1)
        return logit_UC
