"""Fit a calibration to logged clicks: Platt's line or an isotonic curve."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.layers.calibration import (
    MAX_SLOPE,
    MIN_SLOPE,
    Calibration,
    CalibrationMethod,
    IsotonicCalibration,
    NoCalibration,
    PlattCalibration,
)
from dinrank.training.measure.metrics import Bools, Floats, equal_count_bins

MAX_GROUPS = 98  # with the two ends, at most 100 knots

MIN_GROUP_ROWS = 400  # docs/experiments.md compares fewer

_MAX_NEWTON_STEPS = 100

_SMALL_STEP = 1e-10


@dataclass(frozen=True, slots=True)
class CalibrationFit:
    """Attributes:
    layer: the fitted calibration.
    warning: for the user; empty if the fit is good.
    """

    layer: Calibration
    warning: str = ""


# Legend: N = impressions, P = parameters, G = groups of impressions with neighbouring logits, B = blocks of groups,
# K = knots.
def fit_calibration(method: CalibrationMethod, logit_N: Floats, clicked_N: Bools) -> CalibrationFit:
    """Fit to impressions that the network was not trained on.

    A network no better than chance would need a falling calibration, which would reverse its order. The slope is then
    held at `MIN_SLOPE`, which makes every CTR nearly the mean click rate, and the fit carries a warning.

    Args:
        clicked_N: of both classes.
    """
    logit_N = np.asarray(logit_N, dtype=np.float64)
    match method:
        case CalibrationMethod.NONE:
            return CalibrationFit(NoCalibration())
        case CalibrationMethod.PLATT:
            return _fit_platt(logit_N, clicked_N)
        case CalibrationMethod.ISOTONIC:
            return _fit_isotonic(logit_N, clicked_N)


def _fit_platt(logit_N: Floats, clicked_N: Bools) -> CalibrationFit:
    """Maximum likelihood of slope and intercept, the slope at least `MIN_SLOPE`.

    As in Platt's paper the targets are (n₁ + 1)/(n₁ + 2) for the n₁ clicked and 1/(n₀ + 2) for the n₀ not clicked, so
    that separable classes have a finite optimum. The likelihood is concave, so where its optimum lies below the
    smallest slope, the best of the allowed ones has exactly that slope.
    """
    num_clicked = int(clicked_N.sum())
    num_other = len(clicked_N) - num_clicked
    target_N = np.where(clicked_N, (num_clicked + 1) / (num_clicked + 2), 1 / (num_other + 2))
    ones_N = np.ones_like(logit_N)
    centre, spread = logit_N.mean(), logit_N.std()
    slope = 0.0
    if spread > 0.0:
        standard_N = (logit_N - centre) / spread
        slope, at_centre = _maximise_likelihood(np.stack([standard_N, ones_N], axis=1), 0.0 * ones_N, target_N)
        slope = slope / spread
    if slope >= MIN_SLOPE:
        return CalibrationFit(PlattCalibration(slope, at_centre - slope * centre))
    (intercept,) = _maximise_likelihood(ones_N[:, None], MIN_SLOPE * logit_N, target_N)
    return CalibrationFit(PlattCalibration(MIN_SLOPE, intercept), _no_better_than_chance(f"a slope of {slope:.3g}"))


def _maximise_likelihood(design_NP: Floats, offset_N: Floats, target_N: Floats) -> Floats:
    """Fit the weights w_P of sigmoid(design·w + offset) to targets between 0 and 1: Newton's method, steps halved."""

    def loss(weight_P: Floats) -> float:
        logit_N = design_NP @ weight_P + offset_N
        return float(np.sum(np.logaddexp(0.0, logit_N) - target_N * logit_N))

    weight_P = np.zeros(design_NP.shape[1])
    for _ in range(_MAX_NEWTON_STEPS):
        ctr_N = 0.5 + 0.5 * np.tanh((design_NP @ weight_P + offset_N) / 2)
        curvature_PP = (design_NP * (ctr_N * (1 - ctr_N))[:, None]).T @ design_NP
        step_P = np.linalg.solve(curvature_PP, design_NP.T @ (ctr_N - target_N))
        while loss(weight_P - step_P) > loss(weight_P) and np.abs(step_P).max() > _SMALL_STEP:
            step_P = step_P / 2
        weight_P = weight_P - step_P
        if np.abs(step_P).max() <= _SMALL_STEP:
            return weight_P
    raise AssertionError("Newton's method did not converge on a strictly convex function")


def _fit_isotonic(logit_N: Floats, clicked_N: Bools) -> CalibrationFit:
    """Fit click rates of groups with neighbouring logits, pooled until they rise, joined by straight lines in logits.

    At most `MAX_GROUPS` groups of about equal size, so that the graph stays small, each with one more row of the mean
    click rate, so that no rate is 0 or 1. Too few impressions for two groups give a shift. A pooled block is a knot at
    its mean logit; from the outermost blocks' knots to the outermost groups the curve is as flat as is allowed.

    Source: Zadrozny and Elkan, "Transforming Classifier Scores into Accurate Multiclass Probability Estimates", KDD
        2002, for isotonic regression; Oron and Flournoy, "Centered Isotonic Regression", Statistics in
        Biopharmaceutical Research 9(3), 2017, for joining the blocks' centres instead of steps.
    """
    group_N = equal_count_bins(logit_N, max(1, min(MAX_GROUPS, len(logit_N) // MIN_GROUP_ROWS)))
    rows_G = np.bincount(group_N)
    logit_G = np.bincount(group_N, weights=logit_N) / rows_G
    clicks_G = np.bincount(group_N, weights=clicked_N) + clicked_N.mean()
    block_G = pool_adjacent_violators(clicks_G / (rows_G + 1), rows_G + 1.0)
    ctr_B = np.bincount(block_G, weights=clicks_G) / np.bincount(block_G, weights=rows_G + 1.0)
    logit_B = np.bincount(block_G, weights=rows_G * logit_G) / np.bincount(block_G, weights=rows_G)
    calibrated_B = np.log(ctr_B / (1 - ctr_B))
    ends = np.array([logit_G[0], logit_G[-1]])
    at_ends = calibrated_B[[0, -1]] + MIN_SLOPE * (ends - logit_B[[0, -1]])
    layer = _through_knots(np.r_[ends[0], logit_B, ends[1]], np.r_[at_ends[0], calibrated_B, at_ends[1]])
    is_flat = len(logit_G) > 1 and len(logit_B) == 1
    return CalibrationFit(layer, _no_better_than_chance("a constant") if is_flat else "")


def pool_adjacent_violators(value_G: Floats, weight_G: Floats) -> NDArray[np.int64]:
    """Assign each value to a block, from 0 on, so that the blocks' weighted means strictly increase and are nearest to
    the values in weighted least squares.

    Source: Ayer et al., "An Empirical Distribution Function for Sampling with Incomplete Information", Annals of
        Mathematical Statistics 26(4), 1955.
    """
    totals: list[float] = []
    weights: list[float] = []
    sizes: list[int] = []
    for value, weight in zip(value_G.tolist(), weight_G.tolist(), strict=True):
        total, size = value * weight, 1
        while totals and totals[-1] / weights[-1] >= total / weight:
            total, weight, size = total + totals.pop(), weight + weights.pop(), size + sizes.pop()
        totals.append(total)
        weights.append(weight)
        sizes.append(size)
    return np.repeat(np.arange(len(sizes)), sizes)


def _through_knots(logit_K: Floats, calibrated_K: Floats) -> IsotonicCalibration:
    """Put each knot as near to its value as the slope from the previous knot allows; coinciding knots are merged."""
    logit_K, first_K = np.unique(logit_K.astype(np.float32).astype(np.float64), return_index=True)
    reached = [float(calibrated_K[first_K[0]])]
    for width, wanted in zip(np.diff(logit_K), calibrated_K[first_K[1:]], strict=True):
        reached.append(float(np.clip(wanted, reached[-1] + MIN_SLOPE * width, reached[-1] + MAX_SLOPE * width)))
    return IsotonicCalibration(logit_K.tolist(), reached)


def _no_better_than_chance(fitted: str) -> str:
    return (
        f"on valid the network's order is no better than chance: calibration fitted {fitted}. Its slope is held at "
        f"{MIN_SLOPE}, so every CTR is close to the mean click rate; train longer or look at the features."
    )
