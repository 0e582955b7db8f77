import dataclasses
import io

import numpy as np
import pytest
import torch
from rich.console import Console

from dinrank.model.layers.calibration import CalibrationMethod
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.registry import Network, NetworkName, build_network
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.measure.calibration import fit_calibration
from dinrank.training.measure.measurement import Measurement, calibrate_and_measure
from dinrank.training.measure.predict import evaluate, predict_logits
from dinrank.training.report.report import show_measurement


@pytest.fixture(scope="module")
def network(encoded_dataset: EncodedDataset) -> Network:
    torch.manual_seed(3)
    config = NetworkConfig(embedding_dim=4, embedding_std=1.0, tower=(8,), unit=(4,))
    return build_network(NetworkName.BASE, encoded_dataset.encoder.schema, config)


@pytest.fixture(scope="module", params=CalibrationMethod)
def measurement(request: pytest.FixtureRequest, network: Network, encoded_dataset: EncodedDataset) -> Measurement:
    return calibrate_and_measure(network, encoded_dataset, request.param)


def shown(measurement: Measurement, negative_sampling_rate: float = 1.0) -> str:
    console = Console(file=io.StringIO(), width=80)
    show_measurement(console, "base on invented", measurement, negative_sampling_rate)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_before_and_after_are_the_network_without_and_with_its_calibration(
    measurement: Measurement, network: Network, encoded_dataset: EncodedDataset
) -> None:
    calibrated = CalibratedNetwork(network, measurement.calibration.layer)
    for split in ("valid", "test"):
        assert measurement.before[split] == evaluate(network, encoded_dataset, split)
        assert measurement.after[split] == evaluate(calibrated, encoded_dataset, split)


def test_calibration_leaves_auc_and_gauc_as_they_are(measurement: Measurement) -> None:
    for split in ("valid", "test"):
        for name in ("auc", "gauc"):
            assert measurement.after[split][name] == pytest.approx(measurement.before[split][name], abs=1e-9)


def test_the_calibration_is_fitted_to_valid_alone(
    measurement: Measurement, network: Network, encoded_dataset: EncodedDataset
) -> None:
    rows = encoded_dataset.split_rows["valid"]
    logits = predict_logits(network, encoded_dataset, rows)
    method = CalibrationMethod(measurement.calibration.layer.to_json()["method"])
    expected = fit_calibration(method, logits, encoded_dataset.clicked_N[rows] == 1.0)
    assert measurement.calibration.layer.to_json() == expected.layer.to_json()
    if method is not CalibrationMethod.NONE:
        assert measurement.after["valid"]["log_loss"] < measurement.before["valid"]["log_loss"]
        assert measurement.after["valid"]["calibration"] == pytest.approx(1.0, abs=0.02)


def test_the_table_shows_figures_before_and_after(measurement: Measurement) -> None:
    lines = shown(measurement).splitlines()
    as_trained = [line.replace("│", "").split() for line in lines if "as trained" in line]
    calibrated = [line.replace("│", "").split() for line in lines if "calibrated" in line]
    names = ("auc", "gauc", "log_loss", "calibration", "expected_calibration_error")
    for split, cells in zip(("valid", "test"), as_trained, strict=True):
        assert cells == [split, "as", "trained", *(f"{measurement.before[split][name]:.4f}" for name in names)]
    if measurement.calibration.layer.to_json()["method"] == "none":
        assert not calibrated
        return
    for split, cells in zip(("valid", "test"), calibrated, strict=True):
        assert cells == ["calibrated", *(f"{measurement.after[split][name]:.4f}" for name in names[2:])]


def test_down_sampling_is_explained_where_there_was_any(measurement: Measurement) -> None:
    assert "not-clicked" not in shown(measurement)
    text = " ".join(shown(measurement, 0.1).split())
    assert "with a share of 0.1 of the not-clicked impressions" in text
    assert "The bundle serves CTRs that are corrected for it" in text


def test_a_warning_reaches_the_screen(measurement: Measurement, encoded_dataset: EncodedDataset) -> None:
    """From logits in the wrong order."""
    clicked = np.arange(1000) % 2 == 0
    fit = fit_calibration(CalibrationMethod.PLATT, -clicked.astype(np.float32), clicked)
    warned = dataclasses.replace(measurement, calibration=fit)
    assert "warning: on valid the network's order is no better than chance" in " ".join(shown(warned).split())
