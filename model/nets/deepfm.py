"""DeepFM."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interactions import sum_of_pair_products
from dinrank.model.nets.config import NetworkConfig


class DeepFM(nn.Module):
    """logit = FM(v) + MLP([v_f for every field f]), both on the same vectors v.

    Source: Guo et al., "DeepFM: A Factorization-Machine based Neural Network for CTR Prediction", IJCAI 2017, Eq. 1.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.fields = config.fields(schema)
        self.mlp = config.mlp(self.fields.num_fields * config.embedding_dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        fields_UCFD = self.fields(inputs)
        fm_UC = self.linear(inputs) + sum_of_pair_products(fields_UCFD).sum(dim=-1)
        return NetworkOutput(logit_UC=fm_UC + self.mlp(fields_UCFD.flatten(-2)).squeeze(-1), weights_UCT=None)
