"""Product-based neural network."""

import torch
from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interactions import inner_products, superposed_outer_product
from dinrank.model.nets.config import NetworkConfig, Product


# Legend: U = users, C = candidates per user, F = fields, D = width of a field's vector.
class PNN(nn.Module):
    """logit = MLP([v_f for every field f, products]).

    The products are ⟨v_f, v_g⟩ for all f ≤ g (`product = "inner"`) or the superposed outer product Σ_f Σ_g v_f·v_gᵀ
    (`product = "outer"`).

    Source: Qu et al., "Product-based Neural Networks for User Response Prediction", ICDM 2016, section III. Deviation:
    the weights of the product layer are full, where the paper factorises them to save time on many fields.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.fields = config.fields(schema)
        num_fields, dim = self.fields.num_fields, config.embedding_dim
        self.product = config.product
        num_products = num_fields * (num_fields + 1) // 2 if self.product is Product.INNER else dim * dim
        self.mlp = config.mlp(num_fields * dim + num_products)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        fields_UCFD = self.fields(inputs)
        multiply = inner_products if self.product is Product.INNER else superposed_outer_product
        x = torch.cat([fields_UCFD.flatten(-2), multiply(fields_UCFD)], dim=-1)
        return NetworkOutput(logit_UC=self.mlp(x).squeeze(-1), weights_UCT=None)
