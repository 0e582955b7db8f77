import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.isotonic import IsotonicRegression  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]

from dinrank.model.layers.calibration import (
    MIN_SLOPE,
    Calibration,
    CalibrationMethod,
    IsotonicCalibration,
    NoCalibration,
    PlattCalibration,
)
from dinrank.training.measure.calibration import MAX_GROUPS, fit_calibration, pool_adjacent_violators
from dinrank.training.measure.metrics import calibration as promised_over_real
from dinrank.training.measure.metrics import expected_calibration_error, log_loss

PLATT, ISOTONIC, NONE = CalibrationMethod.PLATT, CalibrationMethod.ISOTONIC, CalibrationMethod.NONE

both_methods = pytest.mark.parametrize("method", [PLATT, ISOTONIC])


def sigmoid(logit: np.ndarray) -> np.ndarray:
    return 0.5 + 0.5 * np.tanh(logit / 2)


def calibrated(layer: Calibration, logit: np.ndarray) -> np.ndarray:
    return layer(torch.from_numpy(np.asarray(logit, dtype=np.float32))).double().numpy()


def overconfident(num: int = 20_000, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits and clicks whose true logit is half of that, minus 2."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(1.0, 2.0, size=num)
    return logit, rng.random(num) < sigmoid(0.5 * logit - 2.0)


def test_platt_finds_the_line_that_the_clicks_were_drawn_from() -> None:
    layer = fit_calibration(PLATT, *overconfident()).layer
    assert isinstance(layer, PlattCalibration)
    # Four standard errors or more: the information of 20,000 rows gives 0.01 for the slope and 0.03 for the intercept.
    assert layer.slope.item() == pytest.approx(0.5, abs=0.05)
    assert layer.intercept.item() == pytest.approx(-2.0, abs=0.12)


def test_platt_equals_scikit_learns_logistic_regression() -> None:
    """Which has no smoothed targets; among 20,000 rows they hardly matter."""
    logit, clicked = overconfident()
    layer = fit_calibration(PLATT, logit, clicked).layer
    reference = LogisticRegression(C=np.inf, tol=1e-10).fit(logit[:, None], clicked)
    assert isinstance(layer, PlattCalibration)
    assert layer.slope.item() == pytest.approx(reference.coef_[0, 0], abs=1e-3)
    assert layer.intercept.item() == pytest.approx(reference.intercept_[0], abs=1e-3)


def test_platts_gradient_vanishes_with_the_papers_targets() -> None:
    """Separable classes, where plain maximum likelihood has no optimum: 3 clicked at 1, targets 4/5; 2 others at −1,
    targets 1/4. Two points determine the line: logit(4/5) at 1 and logit(1/4) at −1."""
    layer = fit_calibration(PLATT, np.array([1.0, 1, 1, -1, -1]), np.array([True, True, True, False, False])).layer
    np.testing.assert_allclose(sigmoid(calibrated(layer, np.array([1.0, -1.0]))), [4 / 5, 1 / 4], rtol=1e-6)


@both_methods
def test_a_calibrated_network_promises_what_happens(method: CalibrationMethod) -> None:
    """On impressions that the fit has not seen."""
    fit = fit_calibration(method, *overconfident())
    logit, clicked = overconfident(seed=1)
    before, after = sigmoid(logit), sigmoid(calibrated(fit.layer, logit))
    assert fit.warning == ""
    assert promised_over_real(clicked, before) > 2.0
    assert promised_over_real(clicked, after) == pytest.approx(1.0, abs=0.05)
    assert expected_calibration_error(clicked, after) < 0.02 < 0.3 < expected_calibration_error(clicked, before)
    assert log_loss(clicked, after) < log_loss(clicked, before)
    assert log_loss(clicked, after) == pytest.approx(log_loss(clicked, sigmoid(0.5 * logit - 2.0)), abs=0.003)


def test_isotonic_finds_a_curve_that_no_line_fits() -> None:
    rng = np.random.default_rng(0)
    logit = rng.uniform(-3, 3, size=40_000)
    true = np.where(logit < 0, -2.0, -2.0 + logit)
    clicked = rng.random(len(logit)) < sigmoid(true)
    isotonic, platt = (
        log_loss(clicked, sigmoid(calibrated(fit_calibration(method, logit, clicked).layer, logit)))
        for method in (ISOTONIC, PLATT)
    )
    assert isotonic < platt
    assert isotonic == pytest.approx(log_loss(clicked, sigmoid(true)), abs=0.002)


def test_isotonic_by_hand() -> None:
    """Three groups of 1000 equal logits with 400, 200 and 900 clicks, mean rate ½, so each counts half a click and one
    row more: rates 400.5/1001, 200.5/1001 and 900.5/1001. The first two are pooled to 601/2002, their knot at the mean
    logit −1; the end at −2 is as flat as allowed, and the last block is its own end."""
    logit = np.repeat([-2.0, 0.0, 1.0], 1000)
    clicked = np.concatenate([np.arange(1000) < clicks for clicks in (400, 200, 900)])
    layer = fit_calibration(ISOTONIC, logit, clicked).layer
    pooled, high = np.log(601 / 1401), np.log(900.5 / 100.5)
    assert isinstance(layer, IsotonicCalibration)
    assert layer.logit_K.tolist() == [-2.0, -1.0, 1.0]
    np.testing.assert_allclose(layer.calibrated_K.numpy(), [pooled - MIN_SLOPE, pooled, high], rtol=1e-6)


def test_isotonic_from_few_rows_is_a_shift_to_their_click_rate() -> None:
    """One group: 4 of 10 clicked, with its row of the mean 4.4 / 11 = 0.4, at the mean logit 4.5."""
    layer = fit_calibration(ISOTONIC, np.arange(10.0), np.arange(10) >= 6).layer
    np.testing.assert_allclose(calibrated(layer, np.array([4.5, 7.5])), np.log(0.4 / 0.6) + np.array([0, 3]), rtol=1e-6)


@settings(deadline=None, max_examples=150)
@given(
    groups=st.lists(st.tuples(st.sampled_from([0.0, 0.1, 0.25, 0.5, 1.0]), st.integers(1, 9)), min_size=1, max_size=40)
)
def test_pooled_adjacent_violators_equal_scikit_learns(groups: list[tuple[float, int]]) -> None:
    value, weight = (np.array(column, dtype=float) for column in zip(*groups, strict=True))
    block = pool_adjacent_violators(value, weight)
    mean = np.bincount(block, weights=value * weight) / np.bincount(block, weights=weight)
    expected = IsotonicRegression().fit_transform(np.arange(len(value)), value, sample_weight=weight)
    np.testing.assert_allclose(mean[block], expected, atol=1e-12)
    assert (np.diff(mean) > 0).all()
    assert (np.diff(block) >= 0).all() and set(block) == set(range(len(mean)))


@both_methods
@settings(deadline=None, max_examples=60)
@given(
    scale=st.sampled_from([0.0, 1e-6, 1e-3, 1.0, 30.0]),
    slope=st.sampled_from([-2.0, 0.0, 0.5, 40.0]),
    num=st.integers(2, 100) | st.integers(800, 4000),
    seed=st.integers(0, 999),
)
def test_every_fit_is_finite_and_keeps_the_order(
    method: CalibrationMethod, scale: float, slope: float, num: int, seed: int
) -> None:
    """Constant, tiny and huge logits in float32, an order that is right, wrong or random."""
    rng = np.random.default_rng(seed)
    logit = (0.3 + scale * rng.normal(size=num)).astype(np.float32)
    clicked = rng.random(num) < sigmoid(slope * (logit - 0.3))
    clicked[:2] = [True, False]
    layer = fit_calibration(method, logit, clicked).layer
    result = calibrated(layer, np.sort(logit))
    assert np.isfinite(result).all()
    assert (np.diff(result) >= 0).all()
    if isinstance(layer, IsotonicCalibration):
        assert len(layer.logit_K) <= MAX_GROUPS + 2 == 100


@both_methods
def test_clicks_alone_at_the_top_and_none_at_the_bottom_give_finite_logits(method: CalibrationMethod) -> None:
    logit = np.linspace(-1, 1, 1000)
    result = calibrated(fit_calibration(method, logit, logit > 0).layer, logit)
    assert np.isfinite(result).all()
    assert result[-1] > 3.0 and result[0] < -3.0


@both_methods
@pytest.mark.parametrize("direction", [-1.0, 0.0], ids=["reversed", "constant"])
def test_an_order_no_better_than_chance_is_kept_nearly_flat(method: CalibrationMethod, direction: float) -> None:
    rng = np.random.default_rng(0)
    clicked = rng.random(5_000) < 0.2
    logit = direction * (clicked + rng.normal(size=5_000))
    fit = fit_calibration(method, logit, clicked)
    low, high = calibrated(fit.layer, np.array([-2.0, 2.0]))
    assert low < high
    if direction:
        assert high - low == pytest.approx(4 * MIN_SLOPE, rel=1e-4)
    np.testing.assert_allclose(sigmoid(calibrated(fit.layer, logit)), clicked.mean(), atol=0.01)


def test_an_order_no_better_than_chance_is_never_silent() -> None:
    rng = np.random.default_rng(0)
    clicked = rng.random(5_000) < 0.2
    logit = -(clicked + rng.normal(size=5_000))
    assert "no better than chance: calibration fitted a slope of -1." in fit_calibration(PLATT, logit, clicked).warning
    assert "no better than chance: calibration fitted a constant" in fit_calibration(ISOTONIC, logit, clicked).warning


def test_no_calibration_fits_nothing() -> None:
    assert isinstance(fit_calibration(NONE, *overconfident()).layer, NoCalibration)


def test_clicks_at_a_known_rate_are_found_again_after_down_sampling() -> None:
    """A click rate of about 5 %, of whose not-clicked rows one in ten is kept; calibrated on those, corrected, compared
    with the rows that nobody dropped."""
    rng = np.random.default_rng(0)
    true_logit = rng.normal(-3.2, 0.8, size=300_000)
    clicked = rng.random(len(true_logit)) < sigmoid(true_logit)
    kept = clicked | (rng.random(len(true_logit)) < 0.1)
    layer = fit_calibration(PLATT, true_logit[kept], clicked[kept]).layer
    p = sigmoid(calibrated(layer, true_logit))
    q = sigmoid(calibrated(layer, true_logit) + np.log(0.1))
    assert promised_over_real(clicked, p) > 5.0
    # About 16,000 clicks and 28,000 kept rows: a standard error of about 1 %.
    assert promised_over_real(clicked, q) == pytest.approx(1.0, abs=0.04)
    np.testing.assert_allclose(q, sigmoid(true_logit), rtol=0.15)
