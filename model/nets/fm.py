"""Factorisation machine."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interactions import sum_of_pair_products
from dinrank.model.nets.config import NetworkConfig


class FM(nn.Module):
    """logit = b + Σ_f w_f + Σ_{f<g} ⟨v_f, v_g⟩.

    Source: Rendle, "Factorization Machines", ICDM 2010, Eq. 1. Deviation: a field with several values (a multi-valued
    feature, the behaviours) has one pooled vector, so values within a field do not interact.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.fields = config.fields(schema)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        interactions_UC = sum_of_pair_products(self.fields(inputs)).sum(dim=-1)
        return NetworkOutput(logit_UC=self.linear(inputs) + interactions_UC, weights_UCT=None)
