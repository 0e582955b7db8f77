"""Predicted against observed: does an ad with CTR 0.1 get a click in ten impressions?"""

import math
from dataclasses import dataclass

import numpy as np

from dinrank.training.measure.metrics import Bools, Floats, equal_count_bins

NUM_BINS = 10
NUM_HISTOGRAM_BARS = 30
Z_95 = 1.959964  # of the standard normal distribution, for 95 % intervals


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Attributes:
    low, high: the click rate's 95 % interval (Wilson), as if impressions were independent of each other.
    """

    num_impressions: int
    mean_ctr: float
    click_rate: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Attributes:
    bins: by ascending CTR.
    histogram_counts: impressions in equally wide ranges of CTR, between `histogram_edges`, one more than counts.
    """

    bins: tuple[ReliabilityBin, ...]
    histogram_edges: tuple[float, ...]
    histogram_counts: tuple[int, ...]


# Legend: N = impressions.
def reliability(clicked_N: Bools, ctr_N: Floats, *, num_bins: int = NUM_BINS) -> Reliability:
    """Build bins with about as many impressions each, and a histogram of the CTRs from 0 to the highest.

    Equal CTRs stay in one bin, so many ties give fewer bins. At least one impression is needed.
    """
    ctr_N = np.asarray(ctr_N, dtype=np.float64)
    bin_N = equal_count_bins(ctr_N, num_bins)
    counts, edges = np.histogram(ctr_N, bins=NUM_HISTOGRAM_BARS, range=(0.0, float(ctr_N.max()) or 1.0))
    return Reliability(
        bins=tuple(_bin(clicked_N[bin_N == place], ctr_N[bin_N == place]) for place in range(bin_N.max() + 1)),
        histogram_edges=tuple(edges.tolist()),
        histogram_counts=tuple(counts.tolist()),
    )


def _bin(clicked: Bools, ctr: Floats) -> ReliabilityBin:
    low, high = wilson_interval(int(clicked.sum()), len(clicked))
    return ReliabilityBin(len(clicked), float(ctr.mean()), float(clicked.mean()), low, high)


def wilson_interval(num_clicks: int, num_impressions: int) -> tuple[float, float]:
    """95 % interval of a click rate; within 0 and 1, and valid without any click too.

    >>> low, high = wilson_interval(0, 10)
    >>> round(low, 4), round(high, 4)
    (0.0, 0.2775)

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 1927.
    """
    rate, z2 = num_clicks / num_impressions, Z_95**2 / num_impressions
    middle = (rate + z2 / 2) / (1 + z2)
    half = math.sqrt(rate * (1 - rate) * z2 + z2**2 / 4) / (1 + z2)
    return max(0.0, middle - half), min(1.0, middle + half)
