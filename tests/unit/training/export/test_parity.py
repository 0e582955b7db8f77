"""What counts as the same answer, behind calibrations that are steep and behind others."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dinrank.model.bundle.golden import MAX_TOLERANCE, TOLERANCE
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import encode_request
from dinrank.model.layers.calibration import Calibration, IsotonicCalibration, NoCalibration, PlattCalibration
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.names import NetworkName
from dinrank.service.scoring.predictor import Predictor
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.errors import ParityError
from dinrank.training.export.bundle import ServingGraph, check_parity, export_bundle
from dinrank.training.export.check import LOGIT_TOLERANCE, ctr_tolerance, largest_difference
from dinrank.training.run import golden_requests
from tests.fixtures.networks import random_network

LOGITS = [-9.0, -2.0, -1e-5, 0.0, 0.3, 2.0, 40.0]

STEP = IsotonicCalibration([-1.0, 0.0, 0.01, 1.0], [-1.0, -0.9, 0.1, 0.2])  # of slope 100 from 0 to 0.01


def sigmoid(logit: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1.0 / (1.0 + np.exp(-logit))


def tolerance(calibration: Calibration, logits: list[float], *, rate: float = 1.0) -> NDArray[np.float64]:
    network = CalibratedNetwork(random_network(NetworkName.LR), calibration, negative_sampling_rate=rate)
    return ctr_tolerance(network, torch.tensor(logits))


def test_without_a_steep_calibration_the_tolerance_is_the_plain_one() -> None:
    for calibration in (NoCalibration(), PlattCalibration(1.0, 0.0), PlattCalibration(0.01, -3.0)):
        np.testing.assert_allclose(tolerance(calibration, LOGITS), TOLERANCE, rtol=1e-3)
    assert (ctr_tolerance(random_network(NetworkName.LR), torch.tensor(LOGITS)) == TOLERANCE).all()


@pytest.mark.parametrize("rate", [1.0, 0.1])
def test_behind_a_line_the_tolerance_grows_with_its_slope_where_ctrs_are_not_near_0_or_1(rate: float) -> None:
    [middle, low, high] = tolerance(PlattCalibration(50.0, -50.0 * 0.3), [0.3, -2.0, 2.0], rate=rate)
    ctr = sigmoid(np.array(math.log(rate)))
    assert middle == pytest.approx(50.0 * LOGIT_TOLERANCE * ctr * (1.0 - ctr), rel=2e-3)
    assert (low, high) == (TOLERANCE, TOLERANCE)
    assert tolerance(PlattCalibration(1e6, 0.0), [0.0]) == [MAX_TOLERANCE]


def test_behind_a_curve_it_is_that_of_the_steepest_piece_within_reach() -> None:
    at_step, beside, away = tolerance(STEP, [0.005, -LOGIT_TOLERANCE / 2, -0.5])
    ctr = sigmoid(np.array(-0.4))
    assert at_step == pytest.approx(100.0 * LOGIT_TOLERANCE * ctr * (1.0 - ctr), rel=2e-3)
    assert TOLERANCE < beside < at_step  # flat there, and steep within reach
    assert away == TOLERANCE


def test_no_number_is_no_agreement() -> None:
    assert np.isnan(tolerance(STEP, [math.nan])).all()
    wanted = np.array([0.5, 0.5])
    for found, allowed in (
        (np.array([0.5, math.nan]), np.array([1.0, 1.0])),
        (wanted, np.array([TOLERANCE, math.nan])),
        (np.array([0.5, math.inf]), np.array([1.0, 1.0])),
    ):
        with pytest.raises(ParityError):
            largest_difference(wanted, found, circumstance="here", allowed=allowed)


def test_each_value_is_held_to_its_own_tolerance() -> None:
    wanted, allowed = np.array([0.5, 0.5]), np.array([0.001, TOLERANCE])
    assert largest_difference(wanted, wanted + [0.0005, 0.0], circumstance="", allowed=allowed) == pytest.approx(5e-4)
    with pytest.raises(ParityError, match=r"here graph and network are up to 2\.00e-05 apart; 1e-05 is allowed"):
        largest_difference(wanted, wanted + [0.0005, 0.00002], circumstance="here", allowed=allowed)


@pytest.mark.usefixtures("quick_exporter")
def test_a_steep_calibration_throws_no_training_away_and_the_service_accepts_its_bundle(
    dataset: Dataset, encoded_dataset: EncodedDataset, tmp_path: Path
) -> None:
    """Logits that hardly differ, as after too short a training: rounding shows in CTRs behind a slope of 100,000."""
    encoder = encoded_dataset.encoder
    network = random_network(NetworkName.DIN, schema=encoder.schema, std=0.2)
    requests = golden_requests(dataset, encoded_dataset)
    ctr_C = ServingGraph(network, encoder.schema).score(encode_request(encoder, requests[0]).inputs)
    centre = float(np.median(np.log(ctr_C / (1.0 - ctr_C))))
    served = CalibratedNetwork(network, PlattCalibration(1e5, -1e5 * centre), negative_sampling_rate=0.5)
    export_bundle(
        tmp_path / "din",
        network=served,
        name=NetworkName.DIN,
        encoder=encoder,
        golden_requests=requests,
        training={},
        metrics={},
    )
    bundle = open_bundle(tmp_path / "din")
    allowed = np.concatenate([answer.allowed for answer in bundle.golden])
    assert TOLERANCE == allowed.min() < allowed.max() == MAX_TOLERANCE
    graph = ServingGraph(served, encoder.schema).eval()
    assert check_parity(graph, bundle.graph_path, max_behaviours=5) > TOLERANCE  # the plain one would refuse it
    assert Predictor.load(bundle)
    with torch.no_grad():
        list(network.parameters())[-1].add_(0.01)
    with pytest.raises(ParityError, match=r"apart; \de-0\d is allowed"):
        check_parity(graph, bundle.graph_path, max_behaviours=5)
