"""Who waits for a ranking, and for how long."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass


def _never() -> bool:
    return False


@dataclass(slots=True)
class Caller:
    """By default one who waits for ever.

    Attributes:
        gives_up_s: when the caller stops waiting, by `time.monotonic`.
        has_left: whether the caller has hung up; costs next to nothing to ask.
        may_wait_s: how much longer the request may wait for its turn, in whatever queue; each wait is taken off.
        store_s: how much of the caller's time went to the feature store; the ranker says so. An answer could have
            done without.
    """

    gives_up_s: float = math.inf
    has_left: Callable[[], bool] = _never
    may_wait_s: float = math.inf
    store_s: float = 0.0

    def remaining_s(self) -> float:
        """Infinite without a deadline; negative after it."""
        return self.gives_up_s - time.monotonic()
