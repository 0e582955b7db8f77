import math

import numpy as np
import pytest
import torch

from dinrank.model.layers.calibration import IsotonicCalibration, NoCalibration, PlattCalibration
from dinrank.model.nets.calibrated import CalibratedNetwork, describe_calibration
from dinrank.model.nets.names import NetworkName
from tests.fixtures.networks import random_inputs, random_network


@pytest.mark.parametrize("is_padded", [False, True])
@pytest.mark.parametrize("name", NetworkName)
def test_a_calibrated_network_is_the_network_with_other_logits(name: NetworkName, is_padded: bool) -> None:
    rng = np.random.default_rng(0)
    is_real_UT = rng.random((3, 4)) < 0.6 if is_padded else None
    inputs = random_inputs(rng, is_real_UT=is_real_UT, num_users=3, sizes=(2, 4))
    network = random_network(name)
    with torch.inference_mode():
        expected = network(inputs)
        found = CalibratedNetwork(network, PlattCalibration(2.0, -0.5))(inputs)
    torch.testing.assert_close(found.logit_UC, 2.0 * expected.logit_UC - 0.5)
    assert (found.weights_UCT is None) == (expected.weights_UCT is None)
    if expected.weights_UCT is not None:
        torch.testing.assert_close(found.weights_UCT, expected.weights_UCT)


def ctr_and_corrected(rate: float) -> tuple[np.ndarray, np.ndarray]:
    """CTRs of random candidates, before and after the correction alone."""
    inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, num_users=2, sizes=(5, 3))
    network = random_network(NetworkName.BASE).double()
    with torch.inference_mode():
        return tuple(
            torch.sigmoid(
                CalibratedNetwork(network, NoCalibration(), negative_sampling_rate=w)(inputs).logit_UC
            ).numpy()
            for w in (1.0, rate)
        )


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.5, 1.0])
def test_the_correction_is_the_papers_formula(rate: float) -> None:
    p, q = ctr_and_corrected(rate)
    np.testing.assert_allclose(q, p / (p + (1 - p) / rate), rtol=1e-9)


def test_the_correction_by_hand() -> None:
    """10 clicks and 90 not: CTR 0.1. Of the 90 a tenth is kept, 9: among those rows the CTR is 10/19."""
    logit = math.log((10 / 19) / (9 / 19)) + math.log(0.1)
    assert 1 / (1 + math.exp(-logit)) == pytest.approx(0.1)
    p, q = ctr_and_corrected(0.1)
    np.testing.assert_allclose(np.log(q / (1 - q)), np.log(p / (1 - p)) + math.log(0.1), rtol=1e-9)


@pytest.mark.parametrize("rate", [0.0, -0.1, 1.5, float("nan")])
def test_a_rate_that_is_no_share_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="negative_sampling_rate must be above 0 and at most 1"):
        CalibratedNetwork(random_network(NetworkName.BASE), NoCalibration(), negative_sampling_rate=rate)


def test_the_description_names_method_parameters_and_rate() -> None:
    network = random_network(NetworkName.BASE)
    assert describe_calibration(network) == {"method": "none", "negative_sampling_rate": 1.0}
    platt = CalibratedNetwork(network, PlattCalibration(2.0, -0.5), negative_sampling_rate=0.25)
    assert describe_calibration(platt) == {
        "method": "platt",
        "slope": 2.0,
        "intercept": -0.5,
        "negative_sampling_rate": 0.25,
    }
    isotonic = CalibratedNetwork(network, IsotonicCalibration([0.0, 1.0], [0.5, 1.0]))
    assert describe_calibration(isotonic) == {
        "method": "isotonic",
        "logits": [0.0, 1.0],
        "calibrated_logits": [0.5, 1.0],
        "negative_sampling_rate": 1.0,
    }
