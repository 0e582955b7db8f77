"""Deep Interest Evolution Network."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.layers.embedding import take_rows
from dinrank.model.layers.fields import pool_behaviours
from dinrank.model.layers.gru import InterestAttention, InterestEvolution, InterestExtractor
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.steps import Steps
from dinrank.model.nets.config import NetworkConfig


# Legend: U = users, C = candidates per user, T = behaviours, D = item width, I = distinct items of the batch,
# P = real behaviours of the batch step by step, H = width of the states, here D, J = those that have a next one.
class DIEN(nn.Module):
    """A GRU reads each user's behaviours into interests, once per user. Attention says how much each interest matters
    to a candidate, and a second GRU whose update gate it scales follows that interest's evolution, once per candidate:
    logit = MLP([v, pooled, v∘pooled, evolved, user, context]), v the candidate, pooled its user's behaviours.

    Source: Zhou et al., "Deep Interest Evolution Network for Click-Through Rate Prediction", AAAI 2019. The tower's
        input is that of the authors' released code, which pools by the plain sum.
    Deviations:
    - behaviours are pooled by `interest_pooling`, by default their mean, as in DIN.
    - the auxiliary loss takes its negatives from the batch's items, see `auxiliary_loss`.
    - states are as wide as items (H = D), so that the auxiliary loss can be an inner product as in the paper; the
      authors' code puts an MLP in its place.
    - attention and gates are the paper's, not those of the authors' code: see the layers.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.item_embedding = config.embedding(schema.group(Group.ITEM))
        dim = self.item_embedding.dim
        self.extractor = InterestExtractor(dim)
        self.attention = InterestAttention(dim, dim)
        self.evolution = InterestEvolution(dim, config.evolution)
        self.pooling = config.interest_pooling
        self.tower = config.build_tower(schema, candidate_dim=4 * dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        rows_ID = self.item_embedding(inputs.items)
        query_UCD = take_rows(rows_ID, inputs.candidates_UC)
        steps = Steps.of(inputs.behaviours_UT, inputs.is_real_UT)
        behaviours_P = steps.take(inputs.behaviours_UT)
        states_PH = self.extractor(rows_ID, behaviours_P, steps)
        weights_PC = self.attention(states_PH, query_UCD, steps)
        evolved_UCH = self.evolution(states_PH, weights_PC, steps)
        pooled_UCD = pool_behaviours(rows_ID, inputs, self.pooling).expand_as(query_UCD)
        logit_UC = self.tower([query_UCD, pooled_UCD, query_UCD * pooled_UCD, evolved_UCH], inputs.request)
        loss = auxiliary_loss(states_PH, rows_ID, behaviours_P, steps) if self.training else None
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=None, auxiliary_loss=loss)


def auxiliary_loss(states_PH: Tensor, rows_ID: Tensor, behaviours_P: Tensor, steps: Steps) -> Tensor:
    """−ln σ(h_t·e_{t+1}) − ln(1 − σ(h_t·ê_{t+1})), the mean over all behaviours that have a next one.

    e_{t+1} is the user's next behaviour; ê_{t+1} is drawn evenly from the batch's other items, with torch's global
    generator. Without a next behaviour or another item the loss is 0.

    Source: Zhou et al., AAAI 2019, "Interest Extractor Layer". Deviation: the paper draws ê_{t+1} from all items but
        the clicked one. A batch names each item once, however popular it is, and padding once, whose vector is zero.
    """
    earlier_J, next_J = steps.successors()
    num_items = len(rows_ID)
    if len(next_J) == 0 or num_items == 1:
        return states_PH.new_zeros(())
    states_JH = take_rows(states_PH, earlier_J)
    clicked_J = behaviours_P[next_J]
    other_J = (clicked_J + torch.randint(1, num_items, clicked_J.shape)) % num_items
    clicked_logit_J, other_logit_J = (
        (states_JH * take_rows(rows_ID, row_J)).sum(dim=-1) for row_J in (clicked_J, other_J)
    )
    return F.softplus(-clicked_logit_J).mean() + F.softplus(other_logit_J).mean()
