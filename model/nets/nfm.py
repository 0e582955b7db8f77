"""Neural factorisation machine."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interactions import sum_of_pair_products
from dinrank.model.nets.config import NetworkConfig


class NFM(nn.Module):
    """logit = b + Σ_f w_f + MLP(Σ_{f<g} v_f ∘ v_g), the sum being the bi-interaction pooling.

    Source: He and Chua, "Neural Factorization Machines for Sparse Predictive Analytics", SIGIR 2017, Eq. 3 and 7.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.fields = config.fields(schema)
        self.mlp = config.mlp(config.embedding_dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        deep_UC = self.mlp(sum_of_pair_products(self.fields(inputs))).squeeze(-1)
        return NetworkOutput(logit_UC=self.linear(inputs) + deep_UC, weights_UCT=None)
