"""A training that was killed goes on from its checkpoint and ends as if nothing had happened."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.fit.checkpoint import Checkpoint
from dinrank.training.fit.loop import TrainingRun, train
from dinrank.training.fit.state import Evaluation

CONFIG = TrainConfig(  # with everything that draws random numbers or remembers earlier steps
    network=NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(16,), unit=(8,), dropout=0.3),
    epochs=3,
    evaluations_per_epoch=2,
    patience=2,
    batch_size=64,
    learning_rate=0.02,
    embedding_learning_rate=0.02,
    average_every=3,
    mini_batch_aware_l2=0.1,
    l2=0.1,
)


class Killed(Exception):
    pass


def trained(
    data: EncodedDataset,
    checkpoint: Checkpoint | None = None,
    *,
    name: NetworkName = NetworkName.DIN,
    config: TrainConfig = CONFIG,
    on_step: Callable[[int], None] = lambda samples: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> tuple[dict[str, Tensor], TrainingRun]:
    """A whole training as a process does it, seeds first; gives the network's state and what `train` says."""
    torch.manual_seed(5)
    network = build_network(name, data.encoder.schema, config.network)
    rng = np.random.default_rng(5)
    run = train(network, data, config, rng=rng, checkpoint=checkpoint, on_step=on_step, on_evaluation=on_evaluation)
    return network.state_dict(), run


def killer(calls: int) -> Callable[[object], None]:
    """Something to call back that kills the training at its n-th call."""
    left = iter(range(calls - 1))

    def call(_: object) -> None:
        if next(left, None) is None:
            raise Killed

    return call


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    return Checkpoint(tmp_path / "din.checkpoint", {})


@pytest.fixture(scope="module")
def uninterrupted(encoded_dataset: EncodedDataset) -> tuple[dict[str, Tensor], TrainingRun]:
    return trained(encoded_dataset)


def assert_same(found: tuple[dict[str, Tensor], TrainingRun], expected: tuple[dict[str, Tensor], TrainingRun]) -> None:
    """Bit by bit."""
    assert found[1].evaluations == expected[1].evaluations
    assert found[1].best == expected[1].best
    assert found[0].keys() == expected[0].keys()
    assert all(torch.equal(found[0][name], tensor) for name, tensor in expected[0].items())


@pytest.mark.parametrize("look", [1, 2, 3])
def test_a_training_killed_after_a_look_ends_in_the_same_state(
    encoded_dataset: EncodedDataset,
    checkpoint: Checkpoint,
    uninterrupted: tuple[dict[str, Tensor], TrainingRun],
    look: int,
) -> None:
    """Within an epoch (1, 3) and at its end (2)."""
    with pytest.raises(Killed):
        trained(encoded_dataset, checkpoint, on_evaluation=killer(look))
    assert_same(trained(encoded_dataset, checkpoint), uninterrupted)


def test_work_since_the_last_look_is_repeated(
    encoded_dataset: EncodedDataset, checkpoint: Checkpoint, uninterrupted: tuple[dict[str, Tensor], TrainingRun]
) -> None:
    """464 rows are two portions of 232, each of 4 steps. The third step of the first portion, then of later ones."""
    for steps in (3, 4 + 3, 1 + 4 + 2):  # a resumed training's first call stands for all samples of the checkpoint
        with pytest.raises(Killed):
            trained(encoded_dataset, checkpoint, on_step=killer(steps))
    samples: list[int] = []
    seen: list[Evaluation] = []
    found = trained(encoded_dataset, checkpoint, on_step=samples.append, on_evaluation=seen.append)
    assert_same(found, uninterrupted)
    assert samples[0] == 2 * 232
    assert sum(samples) == 232 * len(found[1].evaluations)
    assert tuple(seen) == found[1].evaluations
    assert found[1].samples_per_second == pytest.approx(sum(samples) / found[1].seconds)


def test_a_finished_training_is_not_trained_any_further(
    encoded_dataset: EncodedDataset, checkpoint: Checkpoint
) -> None:
    """Killed while the bundle is exported, for instance."""
    for config in (CONFIG, dataclasses.replace(CONFIG, epochs=30)):  # ends by its epochs, and by its patience
        expected = trained(encoded_dataset, checkpoint, config=config)
        steps: list[int] = []
        assert_same(trained(encoded_dataset, checkpoint, config=config, on_step=steps.append), expected)
        assert steps == [232 * len(expected[1].evaluations)]
        checkpoint.remove()
    assert len(expected[1].evaluations) < 60


@pytest.mark.parametrize("name", NetworkName)
def test_every_network_trains_to_the_same_state_again_killed_or_not(
    encoded_dataset: EncodedDataset, checkpoint: Checkpoint, name: NetworkName
) -> None:
    config = dataclasses.replace(CONFIG, epochs=1)
    expected = trained(encoded_dataset, name=name, config=config)
    assert_same(trained(encoded_dataset, name=name, config=config), expected)
    with pytest.raises(Killed):
        trained(encoded_dataset, checkpoint, name=name, config=config, on_evaluation=killer(1))
    assert_same(trained(encoded_dataset, checkpoint, name=name, config=config), expected)
