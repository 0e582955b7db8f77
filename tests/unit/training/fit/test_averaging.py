import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import Network
from dinrank.training.config import TrainConfig
from dinrank.training.data.batches import make_batch
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.fit.averaging import REACH, AveragedNetwork
from dinrank.training.fit.regularisation import table_decay
from dinrank.training.fit.state import Optimisers
from tests.fixtures.networks import random_network


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
        averaged.bring_up_to_date()
        numbers = torch.cat([tensor.flatten() for tensor in averaged.network.state_dict().values()])
        torch.testing.assert_close(numbers, numbers[:1].expand_as(numbers))  # tables, layers, Dice's statistics alike
        found.append(numbers[0].item())
    return found


def test_an_update_moves_towards_the_newest_state_by_the_formula() -> None:
    """By 10/11, 10/12 and 10/13 of the way: 0 -> 10/11 -> 20/11 -> 720/143."""
    assert averages([1.0, 2.0, 6.0]) == pytest.approx([10 / 11, 20 / 11, 720 / 143])


def test_the_average_looks_back_over_about_the_last_tenth() -> None:
    """Of states k/N that grow evenly it is 10/11 of the newest: a_k = (k·a_{k−1} + 10·k/N) / (k + 10)."""
    assert averages([step / 30 for step in range(1, 31)])[-1] == pytest.approx(10 / 11)


def test_the_start_is_forgotten() -> None:
    """After n updates its weight is n!·10! / (n + 10)!, at n = 20 less than 1e-7."""
    weight = 1 / math.comb(30, 10)
    assert averages([0.0] * 20, start=1.0)[-1] == pytest.approx(weight, rel=1e-3)
    assert weight < 1e-7


def test_steps_in_between_do_not_update() -> None:
    first, second = averages([3.0, 6.0])
    assert averages([9.0, 9.0, 3.0, 9.0, 9.0, 6.0, 9.0], every=3) == pytest.approx(
        [0.0, 0.0, first, first, first, second, second]
    )


def test_averaging_leaves_the_trained_network_alone() -> None:
    network = random_network(NetworkName.BASE)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    averaged = AveragedNetwork(network, every=1)
    set_all(averaged.network, 7.0)
    averaged.after_step()
    averaged.before_look()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("l2", [0.0, 3.0])
@pytest.mark.parametrize("name", NetworkName)
def test_average_and_plain_l2_are_those_of_a_pass_over_all_tables_at_every_step(
    encoded_dataset: EncodedDataset, name: NetworkName, l2: float
) -> None:
    """In double precision, by steps of few rows, so that most of the tables wait; with looks in between."""
    config = TrainConfig(embedding_learning_rate=0.01, l2=l2)
    schema = encoded_dataset.encoder.schema
    lazy = random_network(name, schema=schema).double().train()
    dense, dense_average = copy.deepcopy(lazy), copy.deepcopy(lazy)
    averaged = AveragedNetwork(lazy, every=3, table_decay=table_decay(config))
    optimisers = Optimisers(lazy, config), Optimisers(dense, config)
    rng = np.random.default_rng(0)
    for step in range(1, 31):
        batch = make_batch(encoded_dataset, rng.choice(encoded_dataset.split_rows["train"], 3))
        for network, optimiser in zip((lazy, dense), optimisers, strict=True):
            optimiser.step(network(batch.inputs).logit_UC.square().sum())
        averaged.after_step()
        shrink(dense, 1 - 0.01 * l2)
        if step % 3 == 0:
            move_towards(dense_average, dense, 1 / (1 + REACH * step / 3))
        if step % 10 == 0:
            averaged.before_look()
            move_towards(dense_average, dense, 1 / (1 + REACH * step / 3))
            assert_equal_states(averaged.network, dense_average)
            assert_equal_states(lazy, dense)


def shrink(network: Network, factor: float) -> None:
    """The definition of plain L2's step: every row of every table."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Embedding):
                module.weight.mul_(factor)


def move_towards(average: Network, newest: Network, share: float) -> None:
    with torch.no_grad():
        for old, new in zip(average.state_dict().values(), newest.state_dict().values(), strict=True):
            old.copy_((1 - share) * old + share * new)


def assert_equal_states(found: Network, expected: Network) -> None:
    for name, tensor in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


def test_a_network_that_reads_a_table_behind_its_modules_back_is_caught() -> None:
    network = random_network(NetworkName.BASE)
    averaged = AveragedNetwork(network, every=1)
    averaged.after_step()
    table = next(module for module in network.modules() if isinstance(module, nn.Embedding))
    nn.functional.embedding(torch.tensor([2]), table.weight, sparse=True).sum().backward()  # type: ignore[no-untyped-call]
    with pytest.raises(AssertionError, match="without its module"):
        averaged.after_step()
