"""Feature embeddings: one table per feature, side by side."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinrank.model.bundle.schema import Feature, Kind
from dinrank.model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID


# Legend: N = rows looked up together, M = slots of a multi-valued feature, D = width of all features together.
class FeatureEmbedding(nn.Module):
    """Look up features and concatenate their vectors in schema order.

    The values of a multi-valued feature are averaged. The padding vector is zero and stays zero. The unknown vector
    begins at zero: an unknown value says nothing until training has seen some.

    Gradients are sparse, so a step costs the rows that the batch touches, not the table; the optimiser must support
    them (`torch.optim.SparseAdam`).

    Args:
        embedding_dim: width of each feature's vector.
        init_std: standard deviation of the normal distribution that vectors are drawn from.
    """

    def __init__(self, features: Sequence[Feature], *, embedding_dim: int, init_std: float) -> None:
        super().__init__()
        self.features = tuple(features)
        self.dim = embedding_dim * len(self.features)
        self.tables = nn.ModuleDict(
            {
                feature.name: nn.Embedding(feature.num_indices, embedding_dim, padding_idx=PADDING_ID, sparse=True)
                for feature in self.features
            }
        )
        with torch.no_grad():
            for weight in self.tables.parameters():
                weight.normal_(std=init_std)
                weight[[PADDING_ID, UNKNOWN_ID]] = 0.0

    def forward(self, indices: Mapping[str, Tensor]) -> Tensor:
        """Embed N rows.

        Args:
            indices: per feature [N], or [N, M] when multi-valued.

        Returns:
            [N, D]. Do not call it without features.
        """
        vectors = [self._embed(feature, indices[feature.name]) for feature in self.features]
        return torch.cat(vectors, dim=-1)

    def _embed(self, feature: Feature, indices: Tensor) -> Tensor:
        vectors: Tensor = self.tables[feature.name](indices)
        if feature.kind is not Kind.MULTI:
            return vectors
        counts = (indices != PADDING_ID).sum(dim=-1, keepdim=True).clamp(min=1)
        return vectors.sum(dim=-2) / counts


def take_rows(rows_ND: Tensor, positions: Tensor) -> Tensor:
    """`rows_ND[positions]`, shape [*positions, D], with a backward pass that is fast on many repeated positions."""
    return F.embedding(positions, rows_ND)
