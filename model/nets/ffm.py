"""Field-aware factorisation machine."""

import torch
from torch import nn

from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.layers.fields import count_fields
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interactions import field_aware_products
from dinrank.model.nets.config import NetworkConfig


# Legend: U = users, C = candidates per user, F = fields, D = width of a field-aware vector.
class FFM(nn.Module):
    """logit = b + Σ_f w_f + Σ_{f<g} ⟨v_{f,g}, v_{g,f}⟩: a feature value has a vector for each field.

    `field_aware_dim` is the width of such a vector; the paper uses far narrower ones than FM.

    Source: Juan et al., "Field-aware Factorization Machines for CTR Prediction", RecSys 2016, Eq. 4. Deviations: a
    first-order term, as FM has; a field with several values has one pooled vector.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        request = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
        num_fields = count_fields(schema.group(Group.ITEM), request)
        self.fields = config.fields(schema, dim=num_fields * config.field_aware_dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        fields_UCFFD = torch.unflatten(self.fields(inputs), -1, (self.fields.num_fields, -1))
        logit_UC = self.linear(inputs) + field_aware_products(fields_UCFFD)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None)
