import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dinrank.model.layers.calibration import MAX_SLOPE, MIN_SLOPE, IsotonicCalibration, NoCalibration, PlattCalibration

WIDE = 1e4  # far past any network's logits
few_examples = settings(deadline=None, max_examples=100)
wide_logits = st.lists(st.floats(-WIDE, WIDE, width=32), min_size=1, max_size=60)
near_logits = st.integers(0, 200).map(  # neighbours in float32
    lambda steps: [float(np.float32(1.0) + np.float32(step) * np.spacing(np.float32(1.0))) for step in range(steps + 1)]
)


@st.composite
def platt(draw: st.DrawFn) -> PlattCalibration:
    return PlattCalibration(draw(st.floats(MIN_SLOPE, MAX_SLOPE)), draw(st.floats(-30, 30)))


@st.composite
def isotonic(draw: st.DrawFn, max_knots: int = 100) -> IsotonicCalibration:
    """Gaps from nearly nothing to far, and slopes across the whole range."""
    gaps = draw(st.lists(st.sampled_from([1e-4, 0.01, 0.3, 5.0]), max_size=max_knots - 1))
    logits = np.cumsum([draw(st.floats(-8, 8)), *gaps]).astype(np.float32).astype(np.float64)
    widths = np.diff(logits)
    slopes = draw(st.lists(st.floats(MIN_SLOPE, MAX_SLOPE), min_size=len(widths), max_size=len(widths)))
    calibrated = draw(st.floats(-8, 8)) + np.cumsum([0.0, *(np.array(slopes) * widths)])
    return IsotonicCalibration(logits.tolist(), calibrated.tolist())


def applied(calibration: nn.Module, logits: list[float] | np.ndarray) -> np.ndarray:
    return calibration(torch.tensor(logits, dtype=torch.float32)).numpy()


def test_platt_is_a_line() -> None:
    assert applied(PlattCalibration(2.0, -0.5), [-1.0, 0.0, 3.0]).tolist() == [-2.5, -0.5, 5.5]


def test_no_calibration_changes_nothing() -> None:
    assert applied(NoCalibration(), [-1.0, 3.0]).tolist() == [-1.0, 3.0]


def test_isotonic_joins_its_knots_and_goes_on_with_their_mean_slope() -> None:
    """Through (−1, −2), (0, −1.5) and (2, 2.5), by hand: slopes ½ and 2 between, 4.5 / 3 outside."""
    calibration = IsotonicCalibration([-1.0, 0.0, 2.0], [-2.0, -1.5, 2.5])
    logits = [-11.0, -1.0, -0.5, 0.0, 1.0, 2.0, 7.0]
    assert applied(calibration, logits).tolist() == [-17.0, -2.0, -1.75, -1.5, 0.5, 2.5, 10.0]


def test_one_knot_is_a_shift() -> None:
    assert applied(IsotonicCalibration([1.0], [-1.0]), [-3.0, 1.0, 2.5]).tolist() == [-5.0, -1.0, 0.5]


@few_examples
@given(calibration=isotonic(), logits=wide_logits)
def test_isotonic_equals_numpys_interpolation(calibration: IsotonicCalibration, logits: list[float]) -> None:
    knots, values = (np.array(calibration.to_json()[name]) for name in ("logits", "calibrated_logits"))
    x = np.array(logits)
    mean_slope = np.polyfit(knots[[0, -1]], values[[0, -1]], 1)[0] if len(knots) > 1 else 1.0
    outside = np.minimum(x - knots[0], 0) + np.maximum(x - knots[-1], 0)
    expected = np.interp(x, knots, values) + mean_slope * outside
    # The mean slope of knots that lie close together is known as well as their rounded values tell it.
    of_slope = 2e-7 * np.abs(values).max() / max(knots[-1] - knots[0], 1e-6) * np.abs(outside)
    tolerance = 1e-3 * (1.0 + np.abs(expected)) + of_slope
    assert (np.abs(applied(calibration, logits) - expected) <= tolerance).all()


@few_examples
@given(calibration=platt() | isotonic(), logits=wide_logits | near_logits)
def test_calibration_in_float32_never_inverts_an_order(
    calibration: PlattCalibration | IsotonicCalibration, logits: list[float]
) -> None:
    """Ties may appear, where a slope below 1 brings neighbours closer than float32 can tell."""
    calibrated = applied(calibration, np.sort(np.array(logits, dtype=np.float32)))
    assert np.isfinite(calibrated).all()
    assert (np.diff(calibrated) >= 0).all()


@few_examples
@given(calibration=platt() | isotonic(max_knots=20), logits=st.lists(st.floats(-20, 20), min_size=2, max_size=40))
def test_calibration_is_strictly_rising(
    calibration: PlattCalibration | IsotonicCalibration, logits: list[float]
) -> None:
    """In float64, where rounding does not hide it: no slope is below the smallest."""
    x = torch.tensor(sorted(set(logits)), dtype=torch.float64)
    rise = torch.diff(calibration.double()(x))
    assert (rise >= 0.999 * MIN_SLOPE * torch.diff(x) - 1e-10).all()


@few_examples
@given(calibration=platt() | isotonic(), logits=wide_logits)
def test_the_order_of_ctrs_stays(calibration: PlattCalibration | IsotonicCalibration, logits: list[float]) -> None:
    before = torch.sigmoid(torch.tensor(logits)).numpy()
    after = torch.sigmoid(torch.from_numpy(applied(calibration, logits))).numpy()
    first, second = np.triu_indices(len(logits), 1)
    assert (np.sign(before[first] - before[second]) * np.sign(after[first] - after[second]) >= 0).all()


@pytest.mark.parametrize("slope", [0.0, -1.0, MIN_SLOPE / 2, float("nan")])
def test_a_line_that_does_not_rise_is_refused(slope: float) -> None:
    with pytest.raises(ValueError, match="slope must be at least"):
        PlattCalibration(slope, 0.0)


@pytest.mark.parametrize(
    ("logits", "calibrated", "message"),
    [
        ([], [], "strictly increasing"),
        ([0.0, 0.0], [0.0, 1.0], "strictly increasing"),
        ([0.0, 1e-60], [0.0, 1.0], "strictly increasing"),  # equal in float32
        ([0.0, 1.0], [0.0], "pairs"),
        ([0.0, 1.0], [0.0, -1.0], "slopes must be between"),
        ([0.0, 1.0], [0.0, 0.0], "slopes must be between"),
        ([0.0, 1.0], [0.0, 2 * MAX_SLOPE], "slopes must be between"),
    ],
)
def test_knots_that_do_not_rise_as_they_must_are_refused(
    logits: list[float], calibrated: list[float], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        IsotonicCalibration(logits, calibrated)


def test_the_description_gives_the_same_calibration_again() -> None:
    platt_json = PlattCalibration(1.1, -0.3).to_json()
    assert platt_json.pop("method") == "platt"
    assert PlattCalibration(**platt_json).to_json() == {"method": "platt", **platt_json}
    curve = IsotonicCalibration([-1.3, 0.1, 2.7], [-2.0, -1.5, 2.5]).to_json()
    again = IsotonicCalibration(curve["logits"], curve["calibrated_logits"]).to_json()
    assert again == curve and curve["method"] == "isotonic"
    assert NoCalibration().to_json() == {"method": "none"}
