import math

import pytest
import torch

from model.nets.registry import Network, NetworkName
from tests.fixtures.networks import random_network
from training.averaging import AveragedNetwork


def set_all(network: Network, value: float) -> None:
    with torch.no_grad():
        for tensor in network.state_dict().values():
            tensor.fill_(value)


def averages(values: list[float], *, every: int = 1, start: float = 0.0) -> list[float]:
    """The average of a network that begins at `start` and whose every number is set to each of `values` in turn."""
    network = random_network(NetworkName.DIN)
    set_all(network, start)
    averaged = AveragedNetwork(network, every=every)
    found = []
    for value in values:
        set_all(network, value)
        averaged.after_step()
        numbers = torch.cat([tensor.flatten() for tensor in averaged.network.state_dict().values()])
        assert torch.equal(numbers, numbers[:1].expand_as(numbers))  # tables, layers, Dice's statistics alike
        found.append(numbers[0].item())
    return found


def test_an_update_moves_towards_the_newest_state_by_the_formula() -> None:
    """By 10/11, 10/12 and 10/13 of the way: 0 -> 10/11 -> 20/11 -> 720/143."""
    assert averages([1.0, 2.0, 6.0]) == pytest.approx([10 / 11, 20 / 11, 720 / 143])


def test_the_average_looks_back_over_about_the_last_tenth() -> None:
    """Of states that grow evenly from 0 to 1 the newest is 1, the average as old as a tenth of the training or so."""
    assert averages([step / 300 for step in range(1, 301)])[-1] == pytest.approx(0.9, abs=0.02)


def test_the_start_is_forgotten() -> None:
    """After n updates its weight is n!·10! / (n + 10)!, at n = 20 less than 1e-7."""
    weight = 1 / math.comb(30, 10)
    assert averages([0.0] * 20, start=1.0)[-1] == pytest.approx(weight, rel=1e-3)
    assert weight < 1e-7


def test_steps_in_between_do_not_update() -> None:
    first, second = averages([3.0, 6.0])
    assert averages([9.0, 9.0, 3.0, 9.0, 9.0, 6.0, 9.0], every=3) == [0.0, 0.0, first, first, first, second, second]


def test_averaging_leaves_the_trained_network_alone() -> None:
    network = random_network(NetworkName.BASE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    averaged = AveragedNetwork(network, every=1)
    set_all(averaged.network, 7.0)
    averaged.after_step()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
