"""Wide & Deep."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.crosses import behaviour_crosses
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


class WideDeep(nn.Module):
    """logit = b + Σ_f w_f + Σ crossed features + MLP([v_f for every field f]).

    The crossed features of the wide part are those of the paper's example, installed app AND shown app: each feature of
    the candidate with the same feature of every behaviour, hashed into `num_hash_buckets` weights.

    Source: Cheng et al., "Wide & Deep Learning for Recommender Systems", DLRS 2016, Eq. 3 and Fig. 4. Deviation: the
    wide part is trained by the same Adam as the deep one, not by FTRL with L1.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.linear = config.linear(schema)
        self.crosses = config.hashed(behaviour_crosses(schema))
        self.fields = config.fields(schema)
        self.mlp = config.mlp(self.fields.num_fields * config.embedding_dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        wide_UC = self.linear(inputs) + self.crosses(inputs)
        deep_UC = self.mlp(self.fields(inputs).flatten(-2)).squeeze(-1)
        return NetworkOutput(logit_UC=wide_UC + deep_UC, weights_UCT=None)
