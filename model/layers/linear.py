"""The first-order term: a weight per feature value."""

import torch
from torch import Tensor, nn

from dinrank.model.layers.embedding import FeatureEmbedding, take_rows
from dinrank.model.layers.fields import pool_behaviours
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.tower import request_parts


# Legend: U = users, C = candidates per user, F = fields, in the order of `Fields`.
class LinearTerm(nn.Module):
    """b + Σ_f w_f. An item has one weight as a candidate and another one as a behaviour.

    A multi-valued feature has the mean of its values' weights, and behaviours' weights are pooled.

    Args:
        candidate, behaviour: weights of the item features, embeddings of width 1.
        request: weights of the user and context features, of width 1.
    """

    def __init__(
        self, candidate: FeatureEmbedding, behaviour: FeatureEmbedding, request: FeatureEmbedding, pooling: Pooling
    ) -> None:
        super().__init__()
        self.candidate = candidate
        self.behaviour = behaviour
        self.request = request
        self.pooling = pooling
        self.bias = nn.Parameter(torch.zeros(()))

    def weights(self, inputs: NetworkInputs) -> Tensor:
        """w_f, [U, C, F]."""
        candidate_UCF = take_rows(self.candidate(inputs.items), inputs.candidates_UC)
        behaviours_UCF = pool_behaviours(self.behaviour(inputs.items), inputs, self.pooling).expand_as(candidate_UCF)
        request = request_parts(self.request, inputs.request, candidate_UCF.shape[1])
        return torch.cat([candidate_UCF, behaviours_UCF, *request], dim=-1)

    def forward(self, inputs: NetworkInputs) -> Tensor:
        """logit_UC."""
        return self.weights(inputs).sum(dim=-1) + self.bias
