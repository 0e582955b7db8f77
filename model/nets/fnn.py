"""Factorisation-machine supported neural network."""

import torch
from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


# Legend: U = users, C = candidates per user, F = fields, D = width of a field's vector.
class FNN(nn.Module):
    """logit = MLP([b, w_f and v_f for every field f]): the parameters of a factorisation machine, then an MLP.

    `linear` and `fields` are those of `FM`, so that training can begin with a trained one.

    Source: Zhang et al., "Deep Learning over Multi-field Categorical Data", ECIR 2016, Eq. 1 to 4. Deviations: a field
    with several values has one pooled vector; the tower's activation instead of tanh.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.fields = config.fields(schema)
        self.mlp = config.mlp(1 + self.fields.num_fields * (1 + config.embedding_dim))

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        weights_UCF, fields_UCFD = self.linear.weights(inputs), self.fields(inputs)
        bias_UC1 = self.linear.bias.expand(*weights_UCF.shape[:2], 1)
        logit_UC = self.mlp(torch.cat([bias_UC1, weights_UCF, fields_UCFD.flatten(-2)], dim=-1)).squeeze(-1)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None)
