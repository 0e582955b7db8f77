"""Folded networks against the networks that they came from."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.dice import Dice
from dinrank.model.layers.mlp import MLP, Activation
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.names import NetworkName
from dinrank.training.export.fold import FoldedMLP, folded
from tests.fixtures.networks import SMALL, make_awkward, random_inputs, random_network

ACTIVATIONS = list(Activation)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("name", list(NetworkName))
def test_a_folded_network_computes_the_same(name: NetworkName, activation: Activation) -> None:
    config = dataclasses.replace(SMALL, tower_activation=activation, unit_activation=activation)
    network = random_network(name, config, std=0.2)
    make_awkward(network)
    served = folded(network)
    for sizes in ((1, 0), (3, 1), (5, 6)):
        inputs = random_inputs(np.random.default_rng(0), is_real_UT=None, sizes=sizes)
        with torch.inference_mode():
            expected, found = network(inputs), served(inputs)
        np.testing.assert_allclose(torch.sigmoid(found.logit_UC), torch.sigmoid(expected.logit_UC), rtol=0, atol=1e-5)
        if expected.weights_UCT is not None:
            np.testing.assert_allclose(found.weights_UCT, expected.weights_UCT, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", list(NetworkName))
def test_folding_leaves_the_network_as_it_is_and_nothing_to_fold(name: NetworkName) -> None:
    network = random_network(name)
    before = copy.deepcopy(network.state_dict())
    served = folded(network)
    assert all(torch.equal(after, before[key]) for key, after in network.state_dict().items())
    assert not [module for module in served.modules() if isinstance(module, Dice | MLP | LocalActivationUnit)]
    assert not [parameter for parameter in served.parameters() if parameter.requires_grad]


def test_a_calibrated_network_is_folded_within() -> None:
    served = folded(CalibratedNetwork(random_network(NetworkName.DIN), nn.Identity()))  # type: ignore[arg-type]
    assert not [module for module in served.modules() if isinstance(module, Dice)]


@settings(deadline=None, max_examples=50)
@given(
    alpha=st.sampled_from([0.0, 1.0, 1.0 - 1e-7, 1.0 + 1e-5, 0.999, 2.5, -0.5]),
    variance=st.sampled_from([0.0, 1e-12, 1e-8, 1e-4, 1.0, 100.0]),
    mean=st.floats(-3.0, 3.0, width=32),
    seed=st.integers(0, 2**32),
)
def test_dice_folds_at_any_alpha_and_variance(alpha: float, variance: float, mean: float, seed: int) -> None:
    """In double precision but for the stored weights: what is left is rounding, however small the variance."""
    torch.manual_seed(seed)
    mlp = MLP(5, (4,), activation=Activation.DICE, dropout=0.5).eval()
    dice = mlp.hidden[1]
    assert isinstance(dice, Dice)
    with torch.no_grad():
        dice.alpha.fill_(alpha)
        dice.running_mean.fill_(mean)
        dice.running_var.fill_(variance)
    x = torch.randn(50, 5)
    with torch.inference_mode():
        expected, found = copy.deepcopy(mlp).double()(x.double()), FoldedMLP.of(mlp).double()(x.double())
    np.testing.assert_allclose(found, expected, rtol=0, atol=2e-4 if variance < 1e-6 else 1e-5)
