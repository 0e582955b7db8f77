"""Inputs and outputs of every network."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


# Legend: U = users, C = candidates per user, T = behaviours, I = distinct items of the batch, M = slots.
class NetworkInputs(NamedTuple):
    """A batch of users, each with C candidates and up to T behaviours.

    Candidates and behaviours are items; each distinct item is embedded once and gathered as often as it occurs.

    Attributes:
        items: indices of the distinct items, per item feature [I] or, multi-valued, [I, M].
        candidates_UC: rows of `items`.
        behaviours_UT: rows of `items`, oldest first; a padded slot may hold any row.
        is_real_UT: bool, True where the slot holds a behaviour. None when every slot does, as in serving, where the
            history has exactly T behaviours and T may be 0.
        request: indices per user and context feature, [U] or [U, M].
    """

    items: Mapping[str, Tensor]
    candidates_UC: Tensor
    behaviours_UT: Tensor
    is_real_UT: Tensor | None
    request: Mapping[str, Tensor]


class NetworkOutput(NamedTuple):
    """Attributes:
    logit_UC: log-odds of a click.
    weights_UCT: raw activation weights; None in networks without an activation unit, and in padded batches.
    auxiliary_loss: added to the log loss, a scalar; None in most networks, and outside training.
    """

    logit_UC: Tensor
    weights_UCT: Tensor | None
    auxiliary_loss: Tensor | None = None
