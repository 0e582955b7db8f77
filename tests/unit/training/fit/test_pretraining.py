"""FNN begins where a factorisation machine ended."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor

from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.fm import FM
from dinrank.model.nets.fnn import FNN
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training import run
from dinrank.training.config import TrainConfig
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.fit.loop import train
from dinrank.training.fit.pretraining import pretrain
from dinrank.training.fit.progress import TrainingProgress
from dinrank.training.fit.state import Evaluation

SEED = 5

CONFIG = TrainConfig(
    network=NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(8,)),
    epochs=2,
    evaluations_per_epoch=1,
    batch_size=64,
    learning_rate=0.02,
    embedding_learning_rate=0.02,
    average_every=1,
    fm_pretraining_epochs=2,
)


class Killed(Exception):
    pass


def silent() -> Console:
    return Console(file=io.StringIO())


def copied(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in state.items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_fnn_begins_with_the_parameters_of_a_trained_fm(encoded_dataset: EncodedDataset) -> None:
    """The FM is trained here as any network is; what the FNN adds to it stays as it was drawn."""
    schema = encoded_dataset.encoder.schema
    torch.manual_seed(SEED)
    FNN(schema, CONFIG.network)
    fm = FM(schema, CONFIG.network)
    train(fm, encoded_dataset, CONFIG, rng=np.random.default_rng([SEED, 1]))

    torch.manual_seed(SEED)
    fnn = FNN(schema, CONFIG.network)
    before = copied(fnn.state_dict())
    pretrain(fnn, encoded_dataset, CONFIG, seed=SEED, console=silent())
    for name, tensor in fnn.state_dict().items():
        assert torch.equal(tensor, before[name] if name.startswith("mlp.") else fm.state_dict()[name]), name
    assert not torch.equal(fnn.linear.bias, before["linear.bias"])


@pytest.mark.parametrize(("name", "epochs"), [(NetworkName.FNN, 0), (NetworkName.FM, 2), (NetworkName.DEEPFM, 2)])
def test_without_pretraining_nothing_is_drawn_or_changed(
    encoded_dataset: EncodedDataset, name: NetworkName, epochs: int
) -> None:
    network = build_network(name, encoded_dataset.encoder.schema, CONFIG.network)
    before, random_state = copied(network.state_dict()), torch.get_rng_state()
    config = dataclasses.replace(CONFIG, fm_pretraining_epochs=epochs)
    pretrain(network, encoded_dataset, config, seed=SEED, console=silent())
    assert_same(network.state_dict(), before)
    assert torch.equal(torch.get_rng_state(), random_state)


def test_a_pretrained_run_killed_or_not_ends_in_the_same_network_and_pretrains_once(
    dataset_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs without their slow last step. One is killed at the third look: two of the FM and the first of FNN, which has
    left a checkpoint, are behind it."""
    exported: list[dict[str, Tensor]] = []

    def export(*_: Path, network: CalibratedNetwork, **__: object) -> None:
        exported.append(copied(network.state_dict()))
        raise Killed

    looks = iter(range(2))

    def show(progress: TrainingProgress, evaluation: Evaluation) -> None:
        if next(looks, None) is None:
            raise Killed

    monkeypatch.setattr(run, "export_bundle", export)
    screen = io.StringIO()
    whole, again = (
        run.RunOptions(
            data=dataset_path, model=NetworkName.FNN, out=tmp_path / name, seed=SEED, config=CONFIG, resume=True
        )
        for name in ("whole", "again")
    )
    with pytest.raises(Killed):
        run.run(whole, Console(file=screen, width=200))
    assert "pre-training an FM, epochs at most 2" in screen.getvalue()
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(TrainingProgress, "show", show)
        run.run(again, silent())
    assert len(exported) == 1
    monkeypatch.setattr(run, "pretrain", lambda *_, **__: pytest.fail("there is a checkpoint"))
    with pytest.raises(Killed):
        run.run(again, silent())
    assert_same(exported[1], exported[0])
