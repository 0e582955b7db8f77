"""One vector per field, as factorisation machines and their relatives take them."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from dinrank.model.bundle.schema import Feature
from dinrank.model.layers.embedding import FeatureEmbedding, take_rows
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling, pair_up, sum_pairs
from dinrank.model.layers.tower import request_parts


# Legend: U = users, C = candidates per user, F = fields, D = width of all item features together, E = width of a field,
# I = distinct items of the batch.
class Fields(nn.Module):
    """The fields of a candidate in its request, each with a vector of the same width.

    In this order: every item feature of the candidate, every item feature pooled over the behaviours, every user and
    context feature. Candidate and behaviours share the items' vectors.

    Args:
        pooling: how a feature's vectors over the behaviours become one, the same for all candidates.
    """

    def __init__(self, items: FeatureEmbedding, request: FeatureEmbedding, pooling: Pooling) -> None:
        super().__init__()
        self.item_embedding = items
        self.request_embedding = request
        self.pooling = pooling

    @property
    def num_fields(self) -> int:
        return count_fields(self.item_embedding.features, self.request_embedding.features)

    def forward(self, inputs: NetworkInputs) -> Tensor:
        """[U, C, F, E]."""
        rows_ID = self.item_embedding(inputs.items)
        query_UCD = take_rows(rows_ID, inputs.candidates_UC)
        interest_UCD = pool_behaviours(rows_ID, inputs, self.pooling).expand_as(query_UCD)
        parts = [query_UCD, interest_UCD, *request_parts(self.request_embedding, inputs.request, query_UCD.shape[1])]
        return torch.unflatten(torch.cat(parts, dim=-1), -1, (self.num_fields, -1))


def count_fields(items: Sequence[Feature], request: Sequence[Feature]) -> int:
    """Return the number of fields: item features count twice, for the candidate and for the behaviours."""
    return 2 * len(items) + len(request)


def pool_behaviours(rows_ID: Tensor, inputs: NetworkInputs, pooling: Pooling) -> Tensor:
    """Pool each user's behaviours into one vector, [U, 1, D]; without behaviours the zero vector."""
    if inputs.is_real_UT is None:
        sum_U1D = take_rows(rows_ID, inputs.behaviours_UT).sum(dim=1, keepdim=True)
    else:
        pairs = pair_up(inputs.behaviours_UT, inputs.is_real_UT, num_candidates=1)
        sum_U1D = sum_pairs(rows_ID, pairs)[:, None, :]
    return pooling.scale(sum_U1D, inputs.behaviours_UT, inputs.is_real_UT)
