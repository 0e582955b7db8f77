"""Input and output of the ranker, independent of HTTP."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.encoding import Attributes


class Part(StrEnum):
    """A part of the input that a degraded answer was computed without."""

    BEHAVIOURS = "behaviours"
    PROFILE = "profile"
    ADS = "ads"  # the stored attributes of ads that the bundle does not know


@dataclass(frozen=True, slots=True)
class Candidates:
    """The ads to be scored, as columns in request order.

    Attributes:
        bids: prices per click, in any currency as long as all candidates share it.
        features: by position, raw item attributes that hold for this request only, of the candidates that bring any.
    """

    ad_ids: Sequence[str]
    bids: Sequence[float]
    features: Mapping[int, Attributes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ad_ids)


def strongest(weights_KT: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the positions of each ad's largest weights by absolute value, largest first; newest first among equals.

    A weight scales its behaviour's vector in the ad's interest, so its size is how much that behaviour mattered. It
    does not tell in which direction the CTR moved.

    >>> strongest(np.array([[0.1, -0.9, 0.5, 0.5]])).tolist()
    [[1, 3, 2]]
    """
    newest_first_KT = -np.abs(weights_KT[:, ::-1])
    order_KS = np.argsort(newest_first_KT, axis=1, kind="stable")[:, :NUM_STRONGEST]
    places_KS: NDArray[np.intp] = weights_KT.shape[1] - 1 - order_KS
    return places_KS


@dataclass(frozen=True, slots=True)
class Explanation:
    """Activation weight of each behaviour for each ad of a ranking: raw, not normalised, may be negative.

    Attributes:
        item_ids: the behaviours that were used, oldest first.
        weights: one list per ad of the ranking, one number per behaviour.
        strongest: one list per ad: positions of the few behaviours with the largest weights by absolute value, largest
            first, newest first among equals.
    """

    item_ids: Sequence[str]
    weights: Sequence[Sequence[float]]
    strongest: Sequence[Sequence[int]]


def explain(item_ids: Sequence[str], weights_KT: NDArray[np.float64]) -> Explanation:
    """Args:
    item_ids: the behaviours, oldest first.
    """
    return Explanation(item_ids, weights_KT.tolist(), strongest(weights_KT).tolist())


@dataclass(frozen=True, slots=True)
class RankingTask:
    """A request to rank: one user, the candidates, and the context.

    Attributes:
        top_k: how many ads to return; None for all.
        explain: whether to return the activation weights too.
        reserve_price: least price of a click, in the bids' currency; ads that bid less are left out.
        second_prices: whether to return what a click costs each winner.
        model: version of the model that must rank; None for the one that the traffic split assigns to the user.
    """

    request_id: str
    user_id: str
    candidates: Candidates
    context: Attributes
    top_k: int | None = None
    explain: bool = False
    reserve_price: float = 0.0
    second_prices: bool = False
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer: the ads as columns, highest eCPM first.

    Attributes:
        bids: as sent.
        ctrs: calibrated click-through rates.
        ecpms: bid times ctr.
        prices: what a click costs each; None when not asked for.
        num_below_reserve: candidates that were left out because they bid less than the reserve price.
        num_behaviours: how many behaviours the CTRs rest on.
        degraded: the parts that were missing; empty for a full answer.
        ctr_C: the CTRs of all candidates, in request order.
        explanation: None when not asked for.
    """

    ad_ids: Sequence[str]
    bids: Sequence[float]
    ctrs: Sequence[float]
    ecpms: Sequence[float]
    num_behaviours: int
    prices: Sequence[float] | None = None
    num_below_reserve: int = 0
    degraded: Sequence[Part] = ()
    ctr_C: NDArray[np.float64] = field(default_factory=partial(np.empty, 0), compare=False)
    explanation: Explanation | None = None


def _never() -> bool:
    return False


@dataclass(slots=True)
class Caller:
    """Limits of the caller of one request; by default it waits for ever.

    Attributes:
        gives_up_s: when the caller stops waiting, by `time.monotonic`.
        has_left: returns True once the caller has hung up; cheap to call.
        may_wait_s: how much longer the request may wait in queues, all of them together; each wait is subtracted.
        store_s: time spent on the feature store, set by the ranker; a degraded answer would not need it.
    """

    gives_up_s: float = math.inf
    has_left: Callable[[], bool] = _never
    may_wait_s: float = math.inf
    store_s: float = 0.0

    def remaining_s(self) -> float:
        """Return the time until the deadline: infinite without one, negative after it."""
        return self.gives_up_s - time.monotonic()


NUM_STRONGEST = 3  # behaviours named per ad: as many as a person takes in at a glance

_LONG_ID = 64  # characters


def num_shown(task: RankingTask) -> int:
    """Count the ads that the ranking of a task will have."""
    taking_part = sum(bid >= task.reserve_price for bid in task.candidates.bids)
    return taking_part if task.top_k is None else min(task.top_k, taking_part)


def num_spelled(item_ids: Sequence[str]) -> int:
    """Count behaviours by their size in an answer, which repeats the id with every weight: a long id counts as several.

    >>> num_spelled(["1", "2", "x" * 200])
    6
    """
    return len(item_ids) + sum(len(item_id) // _LONG_ID for item_id in item_ids)
