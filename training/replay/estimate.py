"""Estimate figures with confidence intervals from outcomes by slate."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dinrank.training.errors import ReplayError
from dinrank.training.replay.outcomes import Outcomes

CONFIDENCE = 0.95
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its 95 % confidence interval; None where it is not defined."""

    estimate: float | None
    low: float | None
    high: float | None

    def excludes_zero(self) -> bool:
        return self.low is not None and self.high is not None and (self.low > 0.0 or self.high < 0.0)


@dataclass(frozen=True, slots=True)
class BundleFigures:
    """Attributes:
    expected_over_observed: Σctr / Σclicks of the shown ads; None without a click.
    """

    clicks_per_slate: Interval
    revenue_per_slate: Interval
    expected_over_observed: float | None
    clicks: int
    revenue: float
    shown: int


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two bundles on the same slates. Differences are those of A minus those of B, relative ones in units of B's.

    Attributes:
        agreement: share of slates in which both show the same ads.
    """

    a: BundleFigures
    b: BundleFigures
    clicks_difference: Interval
    revenue_difference: Interval
    clicks_relative: Interval
    revenue_relative: Interval
    agreement: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


# Legend: S = slates, U = users, R = resamples, Q = quantities that are summed.
def compare(a: Outcomes, b: Outcomes, user_S: NDArray[np.int64], *, resamples: int, seed: int) -> Comparison:
    """Compute figures of both bundles and their paired differences.

    Intervals are percentiles of a bootstrap over users: slates of one user are correlated, so users are drawn, with
    replacement, each with all slates. Means are per slate: Σ over drawn users / their number of slates.

    Raises:
        ReplayError: fewer than two users.
    """
    num_users = int(user_S.max()) + 1
    if num_users < 2:
        raise ReplayError(
            "a confidence interval needs slates of two users at least, and there is one: replay a longer log, or a "
            "split with more users"
        )
    # Differences are separate columns, so equal outcomes give exactly 0 despite rounding.
    quantity_SQ = np.column_stack(
        [
            np.ones(len(user_S)),
            a.clicks_S,
            b.clicks_S,
            a.clicks_S - b.clicks_S,
            a.revenue_S,
            b.revenue_S,
            a.revenue_S - b.revenue_S,
        ]
    )
    quantity_UQ = np.zeros((num_users, quantity_SQ.shape[1]))
    np.add.at(quantity_UQ, user_S, quantity_SQ)
    total_Q = quantity_UQ.sum(axis=0)
    total_RQ = _resampled(quantity_UQ, resamples, np.random.default_rng(seed))

    def ratio(numerator: int, denominator: int) -> Interval:
        return _interval(total_Q[numerator], total_Q[denominator], total_RQ[:, numerator], total_RQ[:, denominator])

    return Comparison(
        a=_figures(a, ratio(1, 0), ratio(4, 0)),
        b=_figures(b, ratio(2, 0), ratio(5, 0)),
        clicks_difference=ratio(3, 0),
        revenue_difference=ratio(6, 0),
        clicks_relative=ratio(3, 2),
        revenue_relative=ratio(6, 5),
        agreement=float((a.shown_SK == b.shown_SK).all(axis=1).mean()),
    )


def _resampled(quantity_UQ: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Sum over as many users as there are, drawn with replacement: [R, Q]."""
    num_users = len(quantity_UQ)
    times_drawn = (
        np.bincount(rng.integers(num_users, size=num_users), minlength=num_users).astype(np.float64)
        for _ in range(resamples)
    )
    return np.stack([times_drawn_U @ quantity_UQ for times_drawn_U in times_drawn])


def _interval(numerator: float, denominator: float, numerator_R: Floats, denominator_R: Floats) -> Interval:
    if not denominator > 0.0 or not (denominator_R > 0.0).all():
        return Interval(float(numerator / denominator) if denominator > 0.0 else None, None, None)
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(numerator_R / denominator_R, [tail, 1.0 - tail])
    return Interval(float(numerator / denominator), float(low), float(high))


def _figures(outcomes: Outcomes, clicks_per_slate: Interval, revenue_per_slate: Interval) -> BundleFigures:
    clicks = int(outcomes.clicks_S.sum())
    return BundleFigures(
        clicks_per_slate=clicks_per_slate,
        revenue_per_slate=revenue_per_slate,
        expected_over_observed=math.fsum(outcomes.expected_clicks_S) / clicks if clicks else None,
        clicks=clicks,
        revenue=math.fsum(outcomes.revenue_S),
        shown=int((outcomes.shown_SK >= 0).sum()),
    )
