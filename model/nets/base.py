"""The base model: Embedding&MLP with sum pooling."""

from torch import nn

from dinrank.model.bundle.schema import FeatureSchema
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.nets.config import NetworkConfig


class BaseModel(nn.Module):
    """logit = MLP([candidate, Σ behaviours, user, context]); with `pooling = "mean"` their mean, as YouTube DNN.

    The interest vector is the same for every candidate, which DIN sets out to fix.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 4.2, Fig. 2 left.
    Covington et al., "Deep Neural Networks for YouTube Recommendations", RecSys 2016, for the mean.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.fields = config.fields(schema)
        self.mlp = config.mlp(self.fields.num_fields * config.embedding_dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        logit_UC = self.mlp(self.fields(inputs).flatten(-2)).squeeze(-1)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None)
