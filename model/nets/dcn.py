"""Deep & Cross Network."""

import torch
from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.cross import CrossLayer
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


class DCN(nn.Module):
    """logit = w·[cross layers(x), hidden layers(x)] + b, x the fields' vectors side by side.

    Source: Wang et al., "Deep & Cross Network for Ad Click Predictions", ADKDD 2017.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.fields = config.fields(schema)
        width = self.fields.num_fields * config.embedding_dim
        self.crosses = nn.ModuleList(CrossLayer(width) for _ in range(config.num_cross_layers))
        self.hidden = config.mlp(width).hidden
        self.last = nn.Linear(width + (config.tower[-1] if config.tower else width), 1)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        x_0 = x = self.fields(inputs).flatten(-2)
        for cross in self.crosses:
            x = cross(x_0, x)
        logit_UC = self.last(torch.cat([x, self.hidden(x_0)], dim=-1)).squeeze(-1)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None)
