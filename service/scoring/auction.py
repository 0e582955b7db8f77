"""Expected revenue and the order of candidates; pure functions.

Legend: C = candidates, in request order.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ecpm(bid_C: Floats, ctr_C: Floats) -> Floats:
    """Expected revenue of one impression, in the bid's currency (times 1000 it is "per mille").

    >>> ecpm(np.array([0.5, 2.0]), np.array([0.25, 0.125])).tolist()
    [0.125, 0.25]
    """
    return bid_C * ctr_C


def order_by_ecpm(ecpm_C: Floats, *, top_k: int | None = None) -> NDArray[np.intp]:
    """Positions of the candidates, highest eCPM first; equal ones stay in request order.

    Args:
        top_k: return at most so many positions; None for all.

    >>> order_by_ecpm(np.array([0.1, 0.3, 0.1, 0.2])).tolist()
    [1, 3, 0, 2]
    """
    return np.argsort(-ecpm_C, kind="stable")[:top_k]
