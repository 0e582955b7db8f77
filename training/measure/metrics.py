"""Metrics of CTR models: formulas on arrays, no framework."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]

Bools = NDArray[np.bool_]


# Legend: N = impressions.
def auc(clicked_N: Bools, ctr_N: Floats) -> float:
    """Probability that a clicked impression has a higher CTR than a not-clicked one; a tie counts one half.

    NaN when all impressions are of one class.

    >>> auc(np.array([True, False, False]), np.array([0.5, 0.5, 0.1]))
    0.75
    """
    aucs, _ = auc_by_user(np.zeros(len(clicked_N), dtype=np.int64), clicked_N, ctr_N)
    return float(aucs[0])


def gauc(user_N: NDArray[np.integer], clicked_N: Bools, ctr_N: Floats) -> float:
    """Σ n_u·AUC_u / Σ n_u over the users who have both classes, n_u being user u's impressions.

    Users whose impressions are all clicked or all not clicked have no AUC and no weight. NaN when no user is left.

    User 1 has 3 impressions and AUC 1, user 2 has 2 and AUC 0: (3·1 + 2·0) / 5, where the unweighted mean is 0.5.

    >>> clicked = np.array([True, False, False, True, False])
    >>> gauc(np.array([1, 1, 1, 2, 2]), clicked, np.array([0.9, 0.1, 0.2, 0.3, 0.4]))
    0.6

    Source: Zhu et al., "Optimized Cost per Click in Taobao Display Advertising", KDD 2017; Zhou et al., KDD 2018,
        Eq. 7.
    """
    aucs, counts = auc_by_user(user_N, clicked_N, ctr_N)
    has_both = ~np.isnan(aucs)
    if not has_both.any():
        return float("nan")
    return float(np.average(aucs[has_both], weights=counts[has_both]))


def auc_by_user(user_N: NDArray[np.integer], clicked_N: Bools, ctr_N: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """Each user's AUC, NaN for one class, and number of impressions, users ascending, by the rank-sum formula:

    AUC = (Σ ranks of clicked − n₁(n₁ + 1)/2) / (n₁·n₀), tied CTRs sharing their mean rank.
    """
    _, user_N = np.unique(user_N, return_inverse=True)
    order = np.lexsort((ctr_N, user_N))
    user, ctr, clicked = user_N[order], np.asarray(ctr_N)[order], np.asarray(clicked_N, dtype=np.float64)[order]
    starts_tie = np.r_[True, (user[1:] != user[:-1]) | (ctr[1:] != ctr[:-1])]
    tie = np.cumsum(starts_tie) - 1
    tie_first = np.flatnonzero(starts_tie)
    tie_mean = tie_first + (np.bincount(tie) - 1) / 2  # mean position of each tie
    counts = np.bincount(user)
    user_first = np.cumsum(counts) - counts
    rank = tie_mean[tie] - user_first[user] + 1
    num_clicked = np.bincount(user, weights=clicked)
    num_pairs = num_clicked * (counts - num_clicked)
    rank_sum = np.bincount(user, weights=rank * clicked)
    with np.errstate(invalid="ignore", divide="ignore"):
        aucs = (rank_sum - num_clicked * (num_clicked + 1) / 2) / num_pairs
    return np.where(num_pairs > 0, aucs, np.nan), counts


def log_loss(clicked_N: Bools, ctr_N: Floats) -> float:
    """−mean of ln(ctr) over clicked and ln(1 − ctr) over not-clicked impressions, CTRs kept 1e-12 from 0 and 1.

    >>> round(log_loss(np.array([True, False]), np.array([0.5, 0.5])), 6)
    0.693147
    """
    ctr = np.clip(np.asarray(ctr_N, dtype=np.float64), 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(clicked_N, np.log(ctr), np.log1p(-ctr))))


def calibration(clicked_N: Bools, ctr_N: Floats) -> float:
    """Σ ctr / Σ clicks (PCOC): 1.0 is perfect, above 1 predicts too many clicks. NaN without clicks.

    >>> calibration(np.array([True, False]), np.array([0.9, 0.3]))
    1.2
    """
    clicks = float(np.sum(clicked_N))
    return float(np.sum(ctr_N, dtype=np.float64)) / clicks if clicks else float("nan")


def expected_calibration_error(clicked_N: Bools, ctr_N: Floats, *, num_bins: int = 20, min_rows: int = 50) -> float:
    """Σ n_b/N · |mean CTR of bin b − its click rate|, over bins of about equally many impressions in the order of CTR.

    0 is perfect; the noise of n_b clicks keeps real figures above it.

    Two bins, one predicting 0.1 with no clicks and one 0.8 with a click rate of 0.5: (0.1 + 0.3) / 2. Overall the
    predictions are 0.2 too high.

    >>> clicked = np.array([True, False, False, False])
    >>> round(expected_calibration_error(clicked, np.array([0.8, 0.1, 0.8, 0.1]), num_bins=2, min_rows=2), 6)
    0.2

    Args:
        num_bins: maximum; fewer if a bin would have fewer than `min_rows` impressions.

    Source: Naeini et al., "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015; Guo et al., "On
        Calibration of Modern Neural Networks", ICML 2017. Deviation: their bins are equally wide. CTRs crowd near 0,
        where one such bin would hold nearly all impressions and show next to nothing.
    """
    bin_N = equal_count_bins(ctr_N, max(1, min(num_bins, len(ctr_N) // min_rows)))
    excess_N = np.asarray(ctr_N, dtype=np.float64) - np.asarray(clicked_N, dtype=np.float64)
    return float(np.abs(np.bincount(bin_N, weights=excess_N)).sum() / len(excess_N))


def equal_count_bins(value_N: Floats, num_bins: int) -> NDArray[np.int64]:
    """Return the bin of each value, from 0 on in their order, each with about N / `num_bins` values.

    Equal values share a bin, so there may be fewer and larger ones.

    >>> equal_count_bins(np.array([0.3, 0.1, 0.3, 0.2, 0.3, 0.4]), 3)
    array([1, 0, 1, 0, 1, 2])
    """
    _, rank_N, counts = np.unique(value_N, return_inverse=True, return_counts=True)
    num_smaller = np.cumsum(counts) - counts
    _, bins = np.unique(num_smaller * num_bins // len(rank_N), return_inverse=True)
    bin_N: NDArray[np.int64] = bins[rank_N]
    return bin_N


def rela_impr(auc_model: float, auc_base: float) -> float:
    """((AUC − 0.5) / (AUC of the base − 0.5) − 1) × 100 %: improvement over chance.

    >>> round(rela_impr(0.76, 0.75), 6)
    4.0

    Source: Yan et al., ICML 2014; Zhou et al., KDD 2018, Eq. 8.
    """
    return ((auc_model - 0.5) / (auc_base - 0.5) - 1.0) * 100.0


def all_metrics(user_N: NDArray[np.integer], clicked_N: Bools, ctr_N: Floats) -> dict[str, float]:
    """Return the report's row for one split."""
    return {
        "auc": auc(clicked_N, ctr_N),
        "gauc": gauc(user_N, clicked_N, ctr_N),
        "log_loss": log_loss(clicked_N, ctr_N),
        "calibration": calibration(clicked_N, ctr_N),
        "expected_calibration_error": expected_calibration_error(clicked_N, ctr_N),
    }
