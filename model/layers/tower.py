"""The MLP on top: everything known of a candidate and its request, to one logit."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.mlp import MLP


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
        parts = [*parts_UC, *request_parts(self.request_embedding, request, parts_UC[0].shape[1])]
        logit_UC: Tensor = self.mlp(torch.cat(parts, dim=-1)).squeeze(-1)
        return logit_UC


def request_parts(
    embedding: FeatureEmbedding, request: Mapping[str, Tensor], num_candidates: int
) -> tuple[Tensor, ...]:
    """User and context as one part of every candidate, [U, C, F]; no part when the schema has no such features."""
    if not embedding.features:
        return ()
    request_UF: Tensor = embedding(request)
    return (request_UF[:, None, :].expand(-1, num_candidates, -1),)
