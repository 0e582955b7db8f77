"""What the ranker is asked and what it answers, without a word about HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from model.bundle.encoding import Attributes


class Part(StrEnum):
    """A part of the input that a degraded answer was computed without."""

    BEHAVIOURS = "behaviours"
    PROFILE = "profile"
    ADS = "ads"  # the stored attributes of ads that the bundle does not know


@dataclass(frozen=True, slots=True)
class Candidate:
    """One ad to be scored.

    Attributes:
        bid: price per click, in any currency as long as all candidates share it.
        features: raw item attributes that hold for this request only.
    """

    ad_id: str
    bid: float
    features: Attributes = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RankingTask:
    """One user, the candidates, and what is known about the moment.

    Attributes:
        top_k: how many ads to return; None for all.
        explain: whether to return the activation weights too.
    """

    request_id: str
    user_id: str
    candidates: Sequence[Candidate]
    context: Attributes
    top_k: int | None = None
    explain: bool = False


@dataclass(frozen=True, slots=True)
class ActivationWeight:
    """How strongly one behaviour was activated by one ad: raw, not normalised, may be negative."""

    item_id: str
    weight: float


@dataclass(frozen=True, slots=True)
class RankedAd:
    """One ad of the answer.

    Attributes:
        rank: 1 for the highest eCPM.
        ecpm: bid times ctr.
        activation_weights: one per behaviour used, oldest first; None when not asked for.
    """

    rank: int
    ad_id: str
    bid: float
    ctr: float
    ecpm: float
    activation_weights: Sequence[ActivationWeight] | None = None


@dataclass(frozen=True, slots=True)
class Ranking:
    """The answer.

    Attributes:
        num_behaviours: how many behaviours the CTRs rest on.
        degraded: what the answer was computed without; empty for a full answer.
    """

    ads: Sequence[RankedAd]
    num_behaviours: int
    degraded: Sequence[Part]
