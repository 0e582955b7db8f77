"""Logistic regression."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


class LR(nn.Module):
    """logit = b + Σ_f w_f, a weight per feature value.

    Source: McMahan et al., "Ad Click Prediction: a View from the Trenches", KDD 2013. Deviation: trained like the other
    networks, not with FTRL.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        return NetworkOutput(logit_UC=self.linear(inputs), weights_UCT=None)
