import pytest
import torch

from model.nets.registry import Network, NetworkName
from tests.fixtures.networks import random_network
from training.averaging import AveragedNetwork


def set_all(network: Network, value: float) -> None:
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)


def averages(*, decay: float, every: int, values: list[float]) -> list[float]:
    """The average of a network that starts at 0 and whose every number is set to each of `values` in turn."""
    network = random_network(NetworkName.DIN)
    set_all(network, 0.0)
    averaged = AveragedNetwork(network, decay=decay, every=every)
    found = []
    for value in values:
        set_all(network, value)
        averaged.after_step()
        numbers = torch.cat([tensor.flatten() for tensor in averaged.network.state_dict().values()])
        assert torch.equal(numbers, numbers[:1].expand_as(numbers))  # tables, layers, Dice's statistics alike
        found.append(numbers[0].item())
    return found


def test_the_start_is_the_plain_mean_of_all_states() -> None:
    """Of 0, 1, 2, 6: 1/2, 3/3, 9/4."""
    assert averages(decay=0.99, every=1, values=[1.0, 2.0, 6.0]) == pytest.approx([0.5, 1.0, 2.25])


def test_later_the_newest_state_weighs_one_minus_decay() -> None:
    """With decay 0.6 the third update weighs 0.4, not 1/4: 0.6·1 + 0.4·6 = 3."""
    assert averages(decay=0.6, every=1, values=[1.0, 2.0, 6.0, 8.0]) == pytest.approx([0.5, 1.1, 3.06, 5.036])


def test_decay_0_follows_the_trained_network() -> None:
    assert averages(decay=0.0, every=1, values=[1.0, 2.0, 6.0]) == [1.0, 2.0, 6.0]


def test_steps_in_between_do_not_update() -> None:
    assert averages(decay=0.0, every=3, values=[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]) == [0.0, 0.0, 3.0, 3.0, 3.0, 6.0]


def test_averaging_leaves_the_trained_network_alone() -> None:
    network = random_network(NetworkName.BASE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    averaged = AveragedNetwork(network, decay=0.5, every=1)
    set_all(averaged.network, 7.0)
    averaged.after_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
