"""Behaviours to interest: weighted sums, in the two layouts that behaviours come in."""

from enum import StrEnum
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


# Legend: U = users, C = candidates per user, T = behaviours, D = embedding width, I = distinct items of the batch,
# P = pairs of a candidate and a real behaviour of its user.
class Pairs(NamedTuple):
    """Every candidate with every real behaviour of its user, candidate by candidate, so that padding costs nothing.

    Attributes:
        behaviour_P: the behaviour's item, a row of the batch's items.
        candidate_P: the candidate's position in the flattened [U, C].
        first_B: for each candidate its first pair, U·C of them.
    """

    behaviour_P: Tensor
    candidate_P: Tensor
    first_B: Tensor


def pair_up(behaviours_UT: Tensor, is_real_UT: Tensor, num_candidates: int) -> Pairs:
    """The pairs of a padded batch.

    Args:
        is_real_UT: bool, True where the slot holds a behaviour.
        num_candidates: C.
    """
    num_users, num_slots = is_real_UT.shape
    is_real_BT = is_real_UT[:, None, :].expand(num_users, num_candidates, num_slots).flatten(0, 1)
    candidate_P, slot_P = is_real_BT.nonzero(as_tuple=True)
    counts_B = is_real_BT.sum(dim=1)
    return Pairs(
        behaviour_P=behaviours_UT[candidate_P // num_candidates, slot_P],
        candidate_P=candidate_P,
        first_B=counts_B.cumsum(0) - counts_B,
    )


def sum_pairs(rows_ID: Tensor, pairs: Pairs, weights_P: Tensor | None = None) -> Tensor:
    """Sum per candidate its behaviours' rows, each times its weight: [B, D]. No behaviour gives zero."""
    return F.embedding_bag(pairs.behaviour_P, rows_ID, pairs.first_B, mode="sum", per_sample_weights=weights_P)


class Pooling(StrEnum):
    """Divisor of a sum over T behaviours: 1, √T or T. The names are TensorFlow's combiners."""

    SUM = "sum"
    SQRTN = "sqrtn"
    MEAN = "mean"

    def scale(self, sum_UCD: Tensor, behaviours_UT: Tensor, is_real_UT: Tensor | None) -> Tensor:
        """The pooled vectors; a user without behaviours keeps the zero vector.

        Args:
            is_real_UT: bool, True where the slot holds a behaviour; None when every slot does.
        """
        if self is Pooling.SUM:
            return sum_UCD
        is_counted_UT = torch.ones_like(behaviours_UT) if is_real_UT is None else is_real_UT
        count_U11 = is_counted_UT.sum(dim=1).clamp(min=1)[:, None, None].to(sum_UCD.dtype)
        return sum_UCD / (count_U11.sqrt() if self is Pooling.SQRTN else count_U11)


def pool_interest(weights_UCT: Tensor, keys_UTD: Tensor) -> Tensor:
    """Sum each user's behaviours, weighted by how much each candidate activates them: interest_UCD.

    The weights are not normalised: many related behaviours give a longer vector than one does, and the paper keeps
    that on purpose. No behaviour (T = 0) gives the zero vector.

    Source: Zhou et al., "Deep Interest Network for Click-Through Rate Prediction", KDD 2018, Eq. 3. The authors'
        released code differs: it scales and applies softmax.
    """
    return torch.matmul(weights_UCT, keys_UTD)
