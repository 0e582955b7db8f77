"""Calibrate and measure a trained network, predicting each impression once."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dinrank.model.layers.calibration import Calibration, CalibrationMethod
from dinrank.model.nets.registry import Network
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TEST, VALID
from dinrank.training.measure.calibration import CalibrationFit, fit_calibration
from dinrank.training.measure.predict import Predictions, as_predictions, predict_logits


# Legend: N = impressions.
@dataclass(frozen=True, slots=True)
class Measurement:
    """By split, for `valid` and `test`.

    Attributes:
        calibration: fitted to `valid`.
        predicted_before: the network's own CTRs.
        predicted: the calibrated CTRs. In `valid`, the calibration was fitted to the same impressions.
        before, after: the metrics of each.
    """

    calibration: CalibrationFit
    predicted_before: dict[str, Predictions]
    predicted: dict[str, Predictions]
    before: dict[str, dict[str, float]]
    after: dict[str, dict[str, float]]


def calibrate_and_measure(network: Network, data: EncodedDataset, method: CalibrationMethod) -> Measurement:
    """Fit the calibration to `valid`, then measure on `valid` and, last of all, on `test`."""
    valid_N = data.split_rows[VALID]
    logits = {VALID: predict_logits(network, data, valid_N)}
    calibration = fit_calibration(method, logits[VALID], data.clicked_N[valid_N] > 0)
    logits[TEST] = predict_logits(network, data, data.split_rows[TEST])
    predicted_before = {split: as_predictions(logit_N, data, split) for split, logit_N in logits.items()}
    predicted = {
        split: as_predictions(_calibrated(calibration.layer, logit_N), data, split) for split, logit_N in logits.items()
    }
    return Measurement(
        calibration,
        predicted_before,
        predicted,
        before={split: found.metrics() for split, found in predicted_before.items()},
        after={split: found.metrics() for split, found in predicted.items()},
    )


def _calibrated(layer: Calibration, logit_N: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        calibrated_N: NDArray[np.float32] = layer(torch.from_numpy(logit_N)).numpy()
    return calibrated_N
