"""Degree-2 polynomial with hashed pairs."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.crosses import all_crosses
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


class Poly2(nn.Module):
    """logit = b + Σ_f w_f + Σ w_{h(a, b)} over the pairs of values (a, b), hashed into `num_hash_buckets` weights.

    Source: Chang et al., "Training and Testing Low-degree Polynomial Data Mappings via Linear SVM", JMLR 2010; Juan et
    al., RecSys 2016, Eq. 2, for hashing. Deviations: only pairs in which the candidate takes part, as the others are
    the same for all candidates of a request and cannot change their order; no pairs within a multi-valued feature.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.crosses = config.hashed(all_crosses(schema))

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        return NetworkOutput(logit_UC=self.linear(inputs) + self.crosses(inputs), weights_UCT=None)
