"""What activated what: from raw weights to what a caller is shown.

Legend: K = ads, T = behaviours, S = the strongest.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.scoring.ranking import Explanation, RankingTask

NUM_STRONGEST = 3  # behaviours named per ad: what a person takes in at a glance
_LONG_ID = 64  # characters


def num_shown(task: RankingTask) -> int:
    """How many ads the ranking of a task will have."""
    taking_part = sum(bid >= task.reserve_price for bid in task.candidates.bids)
    return taking_part if task.top_k is None else min(task.top_k, taking_part)


def num_spelled(item_ids: Sequence[str]) -> int:
    """Behaviours as they weigh in an answer, which spells the id with every weight: one whose id is long is several.

    >>> num_spelled(["1", "2", "x" * 200])
    6
    """
    return len(item_ids) + sum(len(item_id) // _LONG_ID for item_id in item_ids)


def explain(item_ids: Sequence[str], weights_KT: NDArray[np.float64]) -> Explanation:
    """Args:
    item_ids: the behaviours, oldest first.
    """
    return Explanation(item_ids, weights_KT.tolist(), strongest(weights_KT).tolist())


def strongest(weights_KT: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of the largest weights of each ad, whatever their sign; the largest first, the newer one of equals.

    A weight is by how much its behaviour's vector enters the ad's interest, so its size is how much that one mattered.
    It does not say in which direction the CTR moved.

    >>> strongest(np.array([[0.1, -0.9, 0.5, 0.5]])).tolist()
    [[1, 3, 2]]
    """
    newest_first_KT = -np.abs(weights_KT[:, ::-1])
    order_KS = np.argsort(newest_first_KT, axis=1, kind="stable")[:, :NUM_STRONGEST]
    places_KS: NDArray[np.intp] = weights_KT.shape[1] - 1 - order_KS
    return places_KS
