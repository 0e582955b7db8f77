"""What counts as the same answer of graph and network."""

import numpy as np
from numpy.typing import NDArray

from model.bundle.golden import TOLERANCE


class ParityError(Exception):
    """An exported graph and the network disagree; nothing was written."""


def largest_difference(wanted: NDArray[np.floating], found: NDArray[np.floating], *, circumstance: str) -> float:
    """How far apart the two are; CTRs are at most 1, raw activation weights may be large: above 1 it is relative.

    Args:
        circumstance: for the message, "with 3 candidates" for instance.

    Raises:
        ParityError: other shapes, or further apart than the tolerance.
    """
    if wanted.shape != found.shape:
        raise ParityError(f"{circumstance} the graph gives {found.shape}, the network {wanted.shape}")
    size = np.maximum(1.0, np.abs(wanted))
    difference = float(np.max(np.abs(wanted - found) / size, initial=0.0))
    if not difference <= TOLERANCE:  # NaN is no agreement either
        raise ParityError(
            f"{circumstance} graph and network are up to {difference:.2e} apart; {TOLERANCE:.0e} is allowed"
        )
    return difference
