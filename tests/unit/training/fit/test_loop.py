import copy
import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from dinrank.model.layers.inputs import NetworkOutput
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.registry import Network, NetworkName, build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.batches import make_batch
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.errors import TrainingDiverged
from dinrank.training.fit.loop import TrainingRun, train
from dinrank.training.fit.state import Evaluation, Optimisers
from dinrank.training.measure.metrics import log_loss
from dinrank.training.measure.predict import evaluate, predict

SMALL = NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(16,), unit=(8,))

QUICK = TrainConfig(
    network=SMALL,
    epochs=3,
    evaluations_per_epoch=1,
    batch_size=64,
    learning_rate=0.02,
    embedding_learning_rate=0.02,
    max_behaviour_dropout=0.0,
    average_every=1,
)

STILL = dataclasses.replace(  # weights and predictions that stay as they are: a rate of 0 is refused
    QUICK,
    network=dataclasses.replace(SMALL, unit_activation=Activation.RELU, tower_activation=Activation.RELU),
    learning_rate=1e-30,
    embedding_learning_rate=1e-30,
)


def new_network(data: EncodedDataset, config: TrainConfig, *, seed: int = 0) -> Network:
    torch.manual_seed(seed)
    return build_network(NetworkName.DIN, data.encoder.schema, config.network)


def trained(data: EncodedDataset, config: TrainConfig, *, seed: int = 0) -> tuple[Network, TrainingRun]:
    network = new_network(data, config, seed=seed)
    return network, train(network, data, config, rng=np.random.default_rng(seed))


def position_of_best(gaucs: list[float]) -> int:
    return gaucs.index(max(gaucs))


@pytest.fixture(scope="module")
def overfitted(encoded_dataset: EncodedDataset) -> tuple[Network, TrainingRun]:
    """More epochs than do any good, so that the best state is not the last."""
    config = dataclasses.replace(QUICK, epochs=40, patience=4)
    return trained(encoded_dataset, config)


def test_training_learns_why_people_click(overfitted: tuple[Network, TrainingRun]) -> None:
    """Chance is 0.5. Of a visit with one click the liked category has it in 0.85·0.9 / (0.85·0.9 + 0.15·0.1) = 0.98."""
    evaluations = overfitted[1].evaluations
    assert overfitted[1].best.valid["gauc"] > 0.75
    assert evaluations[-1].train_loss < evaluations[0].train_loss


def test_the_network_is_left_in_the_state_of_the_best_look_at_valid(
    encoded_dataset: EncodedDataset, overfitted: tuple[Network, TrainingRun]
) -> None:
    network, run = overfitted
    best = position_of_best([evaluation.valid["gauc"] for evaluation in run.evaluations])
    assert best < len(run.evaluations) - 1
    assert run.best == run.evaluations[best]
    assert evaluate(network, encoded_dataset, "valid") == run.best.valid


def test_training_stops_after_patience_looks_without_a_better_one(
    overfitted: tuple[Network, TrainingRun],
) -> None:
    """Not earlier either: no stretch before the end is that long."""
    gaucs = [evaluation.valid["gauc"] for evaluation in overfitted[1].evaluations]
    since_best = [seen - 1 - position_of_best(gaucs[:seen]) for seen in range(1, len(gaucs) + 1)]
    assert since_best[-1] == 4
    assert max(since_best[:-1]) < 4
    assert len(gaucs) < 40


@pytest.mark.parametrize("patience", [1, 3])
def test_predictions_that_never_change_are_looked_at_once_and_patience_times(
    encoded_dataset: EncodedDataset, patience: int
) -> None:
    _, run = trained(encoded_dataset, dataclasses.replace(STILL, epochs=9, patience=patience))
    assert len(run.evaluations) == 1 + patience
    assert run.best == run.evaluations[0]


def test_the_train_loss_is_the_log_loss_of_the_training_rows(encoded_dataset: EncodedDataset) -> None:
    rows = encoded_dataset.split_rows["train"]
    assert len(rows) % 58 == 0  # so that the mean of the batches is the mean of the rows
    network, run = trained(encoded_dataset, dataclasses.replace(STILL, epochs=1, batch_size=58))
    expected = log_loss(encoded_dataset.clicked_N[rows] > 0, predict(network, encoded_dataset, rows))
    assert run.evaluations[0].train_loss == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 2.0])
def test_the_auxiliary_loss_is_trained_on_and_not_reported(
    encoded_dataset: EncodedDataset, monkeypatch: pytest.MonkeyPatch, weight: float
) -> None:
    auxiliary: list[float] = []
    trained_on: list[float] = []
    monkeypatch.setattr(Optimisers, "step", lambda self, loss: trained_on.append(loss.item()))
    config = dataclasses.replace(STILL, epochs=1, batch_size=58, auxiliary_weight=weight)
    torch.manual_seed(0)
    network = build_network(NetworkName.DIEN, encoded_dataset.encoder.schema, config.network)
    rows = encoded_dataset.split_rows["train"]
    expected = log_loss(encoded_dataset.clicked_N[rows] > 0, predict(network, encoded_dataset, rows))

    def record(module: nn.Module, inputs: object, output: NetworkOutput) -> None:
        if output.auxiliary_loss is not None:  # None at the looks at `valid`
            auxiliary.append(output.auxiliary_loss.item())

    network.register_forward_hook(record)
    run = train(network, encoded_dataset, config, rng=np.random.default_rng(0))
    assert run.evaluations[0].train_loss == pytest.approx(expected, rel=1e-5)
    assert min(auxiliary) > 1.0  # 2 ln 2 where the two items cannot be told apart
    assert np.mean(trained_on) == pytest.approx(expected + weight * np.mean(auxiliary), rel=1e-5)


@pytest.mark.parametrize("thinned", [False, True])
def test_one_seed_gives_one_network_and_another_seed_another(encoded_dataset: EncodedDataset, thinned: bool) -> None:
    dropout = dataclasses.replace(SMALL, dropout=0.3)
    config = dataclasses.replace(QUICK, network=dropout, epochs=1, max_behaviour_dropout=float(thinned))
    first, second, other = (trained(encoded_dataset, config, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_network_handed_over_in_evaluation_mode_is_trained_all_the_same(encoded_dataset: EncodedDataset) -> None:
    config = dataclasses.replace(QUICK, epochs=1)
    expected, _ = trained(encoded_dataset, config)
    network = new_network(encoded_dataset, config).eval()
    train(network, encoded_dataset, config, rng=np.random.default_rng(0))
    state = network.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.state_dict().items())


def test_every_epoch_steps_through_the_training_rows_once(encoded_dataset: EncodedDataset) -> None:
    steps: list[int] = []
    seen: list[Evaluation] = []
    config = dataclasses.replace(QUICK, epochs=2, evaluations_per_epoch=3, patience=9, batch_size=50)
    run = train(
        new_network(encoded_dataset, config),
        encoded_dataset,
        config,
        rng=np.random.default_rng(0),
        on_step=steps.append,
        on_evaluation=seen.append,
    )
    # 464 rows in portions of 155, 155 and 154 between two looks, each in batches of 50.
    assert Counter(steps) == {50: 2 * 9, 5: 2 * 2, 4: 2 * 1}
    assert [evaluation.epoch for evaluation in run.evaluations] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert tuple(seen) == run.evaluations
    assert run.samples_per_second == pytest.approx(2 * 464 / run.seconds)


def test_training_does_not_need_the_test_split(encoded_dataset: EncodedDataset) -> None:
    train_and_valid = {split: encoded_dataset.split_rows[split] for split in ("train", "valid")}
    without_test = dataclasses.replace(encoded_dataset, split_rows=train_and_valid)
    _, run = trained(without_test, dataclasses.replace(QUICK, epochs=1))
    assert len(run.evaluations) == 1


def test_a_diverged_loss_is_refused_with_advice(encoded_dataset: EncodedDataset) -> None:
    config = dataclasses.replace(QUICK, learning_rate=1e20, embedding_learning_rate=1e20)
    with pytest.raises(TrainingDiverged, match=r"the loss is (nan|inf) in epoch 1\.00; try a lower learning_rate"):
        trained(encoded_dataset, config)


def test_weights_that_the_last_step_ruins_are_refused_before_they_can_be_the_best(
    encoded_dataset: EncodedDataset,
) -> None:
    """One step for the epoch: its loss was taken before, and the GAUC of NaN is a number."""
    config = dataclasses.replace(
        QUICK, batch_size=10**6, average_every=1, learning_rate=1e36, embedding_learning_rate=1e36
    )
    with pytest.raises(
        TrainingDiverged, match=r"the log loss of valid is nan in epoch 1\.00; try a lower learning_rate"
    ):
        trained(encoded_dataset, config)


def test_layers_and_tables_have_a_learning_rate_each(encoded_dataset: EncodedDataset) -> None:
    """Adam's first step is as long as its learning rate, whatever the gradient."""
    config = dataclasses.replace(QUICK, learning_rate=0.1, embedding_learning_rate=0.001)
    network = new_network(encoded_dataset, config)
    before = copy.deepcopy(network)
    batch = make_batch(encoded_dataset, encoded_dataset.split_rows["train"])
    Optimisers(network, config).step(1000 * network(batch.inputs).logit_UC.square().sum())
    for (name, new), old in zip(network.named_parameters(), before.parameters(), strict=True):
        rate = 0.001 if ".tables." in name else 0.1
        assert (new - old).abs().max().item() == pytest.approx(rate, rel=1e-3), name


def test_rows_that_a_batch_does_not_touch_keep_their_vectors(encoded_dataset: EncodedDataset) -> None:
    """Adam with moments of an earlier batch would move them on."""
    network = new_network(encoded_dataset, QUICK)
    optimisers = Optimisers(network, QUICK)
    table = network.item_embedding.tables["item_id"]
    assert isinstance(table, nn.Embedding)
    rows = encoded_dataset.split_rows["train"]
    all_items, few_items = make_batch(encoded_dataset, rows), make_batch(encoded_dataset, rows[-2:])
    optimisers.step(network(all_items.inputs).logit_UC.sum())
    before = table.weight.detach().clone()
    optimisers.step(network(few_items.inputs).logit_UC.sum())
    moved = (table.weight != before).any(dim=1).nonzero().flatten().tolist()
    touched = set(few_items.inputs.items["item_id"].tolist()) - {0}
    assert set(moved) == touched
    assert len(touched) < len(before) - 2


def test_the_defaults_train_on_a_dataset_of_few_batches(encoded_dataset: EncodedDataset) -> None:
    """464 rows are one batch for each look at `valid`."""
    config = dataclasses.replace(TrainConfig(), network=SMALL)
    before = new_network(encoded_dataset, config).state_dict()
    after = trained(encoded_dataset, config)[0].state_dict()
    assert any(not torch.equal(before[name], after[name]) for name in before)
