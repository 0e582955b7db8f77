"""The base model: Embedding&MLP with sum pooling."""

from torch import Tensor, nn

from model.bundle.schema import FeatureSchema, Group
from model.layers.embedding import take_rows
from model.layers.interest import pair_up, sum_pairs
from model.nets.config import NetworkConfig
from model.nets.inputs import NetworkInputs, NetworkOutput


# Legend: U = users, C = candidates per user, T = behaviours, D = item width, I = distinct items of the batch.
class BaseModel(nn.Module):
    """logit = MLP([candidate, Σ behaviours, user, context]); with `base_pooling = "mean"` their mean, as YouTube DNN.

    The interest vector is the same for every candidate, which is what DIN sets out to mend.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 4.2, Fig. 2 left.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.item_embedding = config.embedding(schema.group(Group.ITEM))
        self.pooling = config.base_pooling
        self.tower = config.build_tower(schema, candidate_dim=2 * self.item_embedding.dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        rows_ID = self.item_embedding(inputs.items)
        query_UCD = take_rows(rows_ID, inputs.candidates_UC)
        sum_U1D = _sum_behaviours(rows_ID, inputs)
        interest_U1D = self.pooling.scale(sum_U1D, inputs.behaviours_UT, inputs.is_real_UT)
        logit_UC = self.tower([query_UCD, interest_U1D.expand_as(query_UCD)], inputs.request)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None)


def _sum_behaviours(rows_ID: Tensor, inputs: NetworkInputs) -> Tensor:
    if inputs.is_real_UT is None:
        return take_rows(rows_ID, inputs.behaviours_UT).sum(dim=1, keepdim=True)
    return sum_pairs(rows_ID, pair_up(inputs.behaviours_UT, inputs.is_real_UT, num_candidates=1))[:, None, :]
