"""Deep Crossing."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.residual import ResidualUnit
from dinrank.model.nets.config import NetworkConfig


class DeepCrossing(nn.Module):
    """logit = w·r(x) + b, x the fields' vectors side by side and r one residual unit per width in `tower`.

    Source: Shan et al., "Deep Crossing: Web-Scale Modeling without Manually Crafted Combinatorial Features", KDD 2016.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.fields = config.fields(schema)
        width = self.fields.num_fields * config.embedding_dim
        self.units = nn.Sequential(*(ResidualUnit(width, hidden) for hidden in config.tower))
        self.last = nn.Linear(width, 1)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        x = self.units(self.fields(inputs).flatten(-2))
        return NetworkOutput(logit_UC=self.last(x).squeeze(-1), weights_UCT=None)
