"""What the ranker is asked and what it answers, without a word about HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import numpy as np
from numpy.typing import NDArray

from model.bundle.encoding import Attributes


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


@dataclass(frozen=True, slots=True)
class RankingTask:
    """One user, the candidates, and what is known about the moment.

    Attributes:
        top_k: how many ads to return; None for all.
        explain: whether to return the activation weights too.
        reserve_price: least price of a click, in the bids' currency; ads that bid less are left out.
        second_prices: whether to return what a click costs each winner.
        model: the version of the model that shall rank; None for the one that the user's share decides.
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
class Explanation:
    """How strongly each behaviour was activated by each ad of a ranking: raw, not normalised, may be negative.

    Attributes:
        item_ids: the behaviours that were used, oldest first.
        weights: one list per ad of the ranking, one number per behaviour.
        strongest: one list per ad: places of the few behaviours whose weights are largest, whatever their sign; the
            largest first, the newer one of equals.
    """

    item_ids: Sequence[str]
    weights: Sequence[Sequence[float]]
    strongest: Sequence[Sequence[int]]


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
        degraded: what the answer was computed without; empty for a full answer.
        ctr_C: the CTRs of all candidates, in request order, whoever won.
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
