"""Calibration: map a network's logit to the logit of a CTR that matches the click rate. The order never changes."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

MIN_SLOPE = 0.01  # minimum slope everywhere: distinct logits stay distinct
MAX_SLOPE = 100.0  # maximum slope: bounds the growth of a logit's rounding error


class CalibrationMethod(StrEnum):
    PLATT = "platt"
    ISOTONIC = "isotonic"
    NONE = "none"


# Legend: K = knots.
class NoCalibration(nn.Module):
    """The network's own logit."""

    def forward(self, logit: Tensor) -> Tensor:
        return logit

    def to_json(self) -> dict[str, Any]:
        return {"method": CalibrationMethod.NONE.value}


class PlattCalibration(nn.Module):
    """slope·logit + intercept.

    Args:
        slope: `MIN_SLOPE` or more.

    Raises:
        ValueError: a slope below that.

    Source: Platt, "Probabilistic Outputs for Support Vector Machines and Comparisons to Regularized Likelihood
        Methods", Advances in Large Margin Classifiers, 1999.
    """

    def __init__(self, slope: float, intercept: float) -> None:
        super().__init__()
        if not slope >= MIN_SLOPE:
            raise ValueError(f"the slope must be at least {MIN_SLOPE}, not {slope}")
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32))
        self.register_buffer("intercept", torch.tensor(intercept, dtype=torch.float32))
        self.slope: Tensor
        self.intercept: Tensor

    def forward(self, logit: Tensor) -> Tensor:
        return self.slope * logit + self.intercept

    def to_json(self) -> dict[str, Any]:
        return {
            "method": CalibrationMethod.PLATT.value,
            "slope": self.slope.item(),
            "intercept": self.intercept.item(),
        }


class IsotonicCalibration(nn.Module):
    """Straight lines between K knots, and beyond them the slope s from the first to the last; 1 with a single knot:

        y_1 + s·min(x − x_1, 0) + Σ_k slope_k·clamp(x − x_k, 0, x_{k+1} − x_k) + s·max(x − x_K, 0)

    Every term rises with x and rounding is monotonic, so the order holds in float32 too. There is no search and no
    branch, which a graph would have to repeat per candidate.

    Args:
        logit_K: x, strictly increasing when rounded to float32; one knot or more.
        calibrated_K: y, with slopes between `MIN_SLOPE` and `MAX_SLOPE`.

    Raises:
        ValueError: any other knots.
    """

    def __init__(self, logit_K: Sequence[float], calibrated_K: Sequence[float]) -> None:
        super().__init__()
        x_K = np.asarray(logit_K, dtype=np.float32).astype(np.float64)
        y_K = np.asarray(calibrated_K, dtype=np.float64)
        width = np.diff(x_K)
        if not len(x_K) or x_K.shape != y_K.shape or not (width > 0).all():
            raise ValueError(f"knots must be pairs with strictly increasing logits, not {logit_K} and {calibrated_K}")
        slope = np.diff(y_K) / width
        tolerance = 1e-6  # for slopes that were computed from the rounded knots and back
        if not ((slope >= MIN_SLOPE * (1 - tolerance)) & (slope <= MAX_SLOPE * (1 + tolerance))).all():
            raise ValueError(f"slopes must be between {MIN_SLOPE} and {MAX_SLOPE}, not {slope.tolist()}")
        outer_slope = (y_K[-1] - y_K[0]) / (x_K[-1] - x_K[0]) if len(x_K) > 1 else 1.0
        for name, array in {"logit_K": x_K, "calibrated_K": y_K, "width": width, "slope": slope}.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32))
        self.register_buffer("outer_slope", torch.tensor(outer_slope, dtype=torch.float32))
        self.logit_K: Tensor
        self.calibrated_K: Tensor
        self.width: Tensor
        self.slope: Tensor
        self.outer_slope: Tensor

    def forward(self, logit: Tensor) -> Tensor:
        past = logit[..., None] - self.logit_K
        below, above = (self.outer_slope * x for x in (past[..., 0].clamp(max=0.0), past[..., -1].clamp(min=0.0)))
        between = (self.slope * torch.minimum(past[..., :-1].clamp(min=0.0), self.width)).sum(dim=-1)
        return self.calibrated_K[0] + below + between + above

    def to_json(self) -> dict[str, Any]:
        return {
            "method": CalibrationMethod.ISOTONIC.value,
            "logits": self.logit_K.tolist(),
            "calibrated_logits": self.calibrated_K.tolist(),
        }


Calibration = NoCalibration | PlattCalibration | IsotonicCalibration
