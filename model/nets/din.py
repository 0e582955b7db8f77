"""Deep Interest Network."""

from collections.abc import Mapping

from torch import Tensor, nn

from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.embedding import take_rows
from dinrank.model.layers.inputs import NetworkInputs, NetworkOutput
from dinrank.model.layers.interest import pair_up, pool_interest, sum_pairs
from dinrank.model.nets.config import NetworkConfig


# Legend: U = users, C = candidates per user, T = behaviours, D = item width, I = distinct items of the batch,
# P = pairs of a candidate and a behaviour.
class DIN(nn.Module):
    """interest = Σ_j a(e_j, v)·e_j over the behaviours, a the local activation unit and v the candidate;
    logit = MLP([v, interest, interest∘v, user, context]).

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, section 4.3, Eq. 3.
    Deviations, each an option of `NetworkConfig`; docs/experiments.md has what was measured of the first two:
    - the interest is divided by the number of behaviours (`interest_pooling`), so that its length does not depend
      on the history's. The weights stay raw, so it still shows how strong the interest is.
    - the product interest∘v in the tower (`interest_product`); the paper has none, the authors' later code multiplies
      the candidate with the summed history.
    - activation weights begin at 1 instead of near 0 (`initial_weight`), so that DIN begins as pooling.
    """

    def __init__(self, schema: FeatureSchema, config: NetworkConfig) -> None:
        super().__init__()
        self.item_embedding = config.embedding(schema.group(Group.ITEM))
        dim = self.item_embedding.dim
        self.unit = LocalActivationUnit(
            dim, config.unit, activation=config.unit_activation, initial_weight=config.initial_weight
        )
        self.pooling = config.interest_pooling
        self.interest_product = config.interest_product
        self.tower = config.build_tower(schema, candidate_dim=(3 if config.interest_product else 2) * dim)

    def forward(self, inputs: NetworkInputs) -> NetworkOutput:
        rows_ID = self.item_embedding(inputs.items)
        query_UCD = take_rows(rows_ID, inputs.candidates_UC)
        if inputs.is_real_UT is None:
            weights_UCT, sum_UCD = self._attend(query_UCD, take_rows(rows_ID, inputs.behaviours_UT))
        else:
            weights_UCT, sum_UCD = None, self._attend_pairs(query_UCD, rows_ID, inputs)
        logit_UC = self.logit(query_UCD, sum_UCD, inputs.behaviours_UT, inputs.is_real_UT, inputs.request)
        return NetworkOutput(logit_UC=logit_UC, weights_UCT=weights_UCT)

    def logit(
        self,
        query_UCD: Tensor,
        sum_UCD: Tensor,
        behaviours_UT: Tensor,
        is_real_UT: Tensor | None,
        request: Mapping[str, Tensor],
    ) -> Tensor:
        """Return logit_UC from candidates and the weighted sums of behaviours: the network behind the activation unit.

        Args:
            behaviours_UT: only its shape counts, see `Pooling.scale`.
            request: indices per user and context feature.
        """
        interest_UCD = self.pooling.scale(sum_UCD, behaviours_UT, is_real_UT)
        parts = [query_UCD, interest_UCD]
        if self.interest_product:
            parts.append(interest_UCD * query_UCD)
        logit_UC: Tensor = self.tower(parts, request)
        return logit_UC

    def _attend(self, query_UCD: Tensor, keys_UTD: Tensor) -> tuple[Tensor, Tensor]:
        """Attend all candidates to all behaviours by broadcasting: one history, embedded once."""
        candidates = self.unit.project_candidates(query_UCD)[:, :, None, :]
        weights_UCT = self.unit(candidates, self.unit.project_behaviours(keys_UTD)[:, None, :, :])
        return weights_UCT, pool_interest(weights_UCT, keys_UTD)

    def _attend_pairs(self, query_UCD: Tensor, rows_ID: Tensor, inputs: NetworkInputs) -> Tensor:
        """Compute the same sum over the real behaviours of a padded batch only, as Dice's statistics require."""
        assert inputs.is_real_UT is not None
        pairs = pair_up(inputs.behaviours_UT, inputs.is_real_UT, query_UCD.shape[1])
        candidates = self.unit.project_candidates(query_UCD.flatten(0, 1))
        behaviours = self.unit.project_behaviours(rows_ID)
        weights_P = self.unit.weigh_pairs(candidates, behaviours, pairs)
        return sum_pairs(rows_ID, pairs, weights_P).view_as(query_UCD)
