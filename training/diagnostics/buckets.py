"""GAUC within buckets of impressions: is the network as good on short histories and rare items?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.encoding import Indices
from dinrank.training.diagnostics.reliability import Z_95
from dinrank.training.measure.metrics import Floats, auc_by_user
from dinrank.training.measure.predict import Predictions

MIN_USERS = 20  # a GAUC of fewer users describes those users rather than the network
HISTORY_LENGTHS = (0, 1, 5, 10, 20, 50)
NUM_POPULARITY_BUCKETS = 5  # besides the items unseen in training


@dataclass(frozen=True, slots=True)
class BucketGauc:
    """GAUC of one bucket's impressions.

    Attributes:
        num_impressions: all of the bucket.
        num_users: those with clicked and not-clicked impressions in the bucket, over whom GAUC is taken.
        gauc: None if they are too few.
        low, high: its 95 % interval.
    """

    label: str
    num_impressions: int
    num_users: int
    gauc: float | None
    low: float | None
    high: float | None


# Legend: N = impressions, U = users.
@dataclass(frozen=True, slots=True)
class Buckets:
    """Ranges of a whole number, without gaps.

    Attributes:
        lower: the first number of each, ascending; the first is 0 and the last has no end.
    """

    lower: tuple[int, ...]

    def labels(self) -> list[str]:
        """
        >>> Buckets((0, 1, 5)).labels()
        ['0', '1–4', '5+']
        """
        ranges = zip(self.lower, self.lower[1:], strict=False)
        return [str(a) if b == a + 1 else f"{a}–{b - 1}" for a, b in ranges] + [f"{self.lower[-1]}+"]

    def positions(self, numbers_N: Indices) -> NDArray[np.int64]:
        return np.searchsorted(np.array(self.lower), numbers_N, side="right") - 1


def history_length_buckets(max_behaviours: int) -> Buckets:
    """Return buckets of the number of behaviours that the network sees, at most `max_behaviours`."""
    return Buckets(tuple(length for length in HISTORY_LENGTHS if length <= max_behaviours))


def popularity_buckets(counts_N: Indices) -> Buckets:
    """Return a bucket for items unseen in training, then ranges with about as many training impressions each.

    Args:
        counts_N: for each training impression, how often its item occurs in the training set: 1 or more.
    """
    shares = np.arange(1, NUM_POPULARITY_BUCKETS) / NUM_POPULARITY_BUCKETS
    quantiles = np.quantile(counts_N, shares, method="higher").astype(int).tolist()
    return Buckets(tuple(sorted({0, 1, *quantiles})))


def gauc_by_bucket(
    predictions: Predictions, buckets: Buckets, numbers_N: Indices, *, min_users: int = MIN_USERS
) -> tuple[BucketGauc, ...]:
    """Compute GAUC separately for the impressions of each bucket.

    A user's AUC in a bucket compares only the impressions in that bucket, so buckets do not add up to the split's
    GAUC.

    Args:
        numbers_N: the value that decides each impression's bucket.
        min_users: with fewer users that have both classes there, a bucket gets no GAUC.
    """
    positions_N = buckets.positions(numbers_N)
    return tuple(
        _bucket(label, predictions, positions_N == position, min_users)
        for position, label in enumerate(buckets.labels())
    )


def _bucket(label: str, predictions: Predictions, is_in_N: NDArray[np.bool_], min_users: int) -> BucketGauc:
    aucs_U, counts_U = auc_by_user(
        predictions.user_N[is_in_N], predictions.clicked_N[is_in_N], predictions.ctr_N[is_in_N]
    )
    has_both_U = ~np.isnan(aucs_U)
    num_impressions, num_users = int(is_in_N.sum()), int(has_both_U.sum())
    if num_users < max(min_users, 2):
        return BucketGauc(label, num_impressions, num_users, None, None, None)
    gauc, error = gauc_with_error(aucs_U[has_both_U], counts_U[has_both_U])
    low, high = max(0.0, gauc - Z_95 * error), min(1.0, gauc + Z_95 * error)
    return BucketGauc(label, num_impressions, num_users, gauc, low, high)


def gauc_with_error(aucs_U: Floats, counts_U: Sequence[int] | Indices) -> tuple[float, float]:
    """Return GAUC of two users or more, and its standard error over the sample of users.

    The error is a ratio estimator's, √(U/(U − 1) · Σ n_u²·(AUC_u − GAUC)²) / Σ n_u: a bootstrap over users
    approaches it, at a far higher cost.

    Source: Cochran, "Sampling Techniques", 3rd edition, 1977, section 6.4.
    """
    counts = np.asarray(counts_U, dtype=np.float64)
    gauc = float(np.average(aucs_U, weights=counts))
    squares = float(np.sum((counts * (aucs_U - gauc)) ** 2))
    return gauc, math.sqrt(squares * len(counts) / (len(counts) - 1)) / float(counts.sum())
