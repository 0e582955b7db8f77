"""The training loop: one screen, whatever the network."""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model.bundle.encoding import Indices
from model.nets.registry import Network
from training.averaging import AveragedNetwork
from training.config import TrainConfig
from training.data.batches import HistoryThinning, batches
from training.data.encoded import EncodedDataset
from training.data.split import TRAIN, VALID
from training.predict import evaluate
from training.regularisation import mini_batch_aware_l2


class TrainingDiverged(Exception):
    """The loss is no longer a number."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one look at `valid` saw.

    Attributes:
        epoch: passes over the training rows so far, a fraction within an epoch.
        train_loss: mean log loss of the steps since the last look.
        valid: metrics of the valid split.
    """

    epoch: float
    train_loss: float
    valid: dict[str, float]


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Attributes:
    evaluations: every look at `valid`, in order.
    best: the one whose state the network is left in.
    seconds: spent in training steps, evaluation excluded.
    samples_per_second: training impressions over those seconds.
    """

    evaluations: tuple[Evaluation, ...]
    best: Evaluation
    seconds: float
    samples_per_second: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


class Optimisers:
    """Adam for the layers, lazy Adam for embedding tables, which costs what the batch touches."""

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
        in_tables = {id(table) for table in tables}
        layers = [parameter for parameter in network.parameters() if id(parameter) not in in_tables]
        self._optimisers = (
            torch.optim.Adam(layers, lr=config.learning_rate),
            torch.optim.SparseAdam(tables, lr=config.embedding_learning_rate),
        )

    def step(self, loss: Tensor) -> None:
        for optimiser in self._optimisers:
            optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        for optimiser in self._optimisers:
            optimiser.step()


def train(
    network: Network,
    data: EncodedDataset,
    config: TrainConfig,
    *,
    rng: np.random.Generator,
    on_step: Callable[[int], None] = lambda samples: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> TrainingRun:
    """Train until `valid` GAUC stops improving, and leave the network in its best state.

    What is measured and kept is the average of recent weights.

    Args:
        on_step: called after each step with the number of impressions in it.
        on_evaluation: called after each look at `valid`.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
    """
    optimisers = Optimisers(network, config)
    averaged = AveragedNetwork(network, every=config.average_every)
    thinning = HistoryThinning(config.max_behaviour_dropout, rng)
    evaluations: list[Evaluation] = []
    best_state: dict[str, Any] = {}
    seconds, num_samples = 0.0, 0
    for epoch, chunk in _chunks(data.split_rows[TRAIN], config, rng):
        network.train()
        started, losses = time.perf_counter(), []
        for batch in batches(data, chunk, config.batch_size, thinning=thinning):
            output = network(batch.inputs)
            loss = F.binary_cross_entropy_with_logits(output.logit_UC, batch.clicked_UC)
            penalty = mini_batch_aware_l2(network, data, batch, config.mini_batch_aware_l2)
            if output.auxiliary_loss is not None:
                penalty = penalty + config.auxiliary_weight * output.auxiliary_loss
            optimisers.step(loss + penalty)
            averaged.after_step()
            losses.append(loss.item())
            on_step(len(batch.clicked_UC))
        seconds, num_samples = seconds + time.perf_counter() - started, num_samples + len(chunk)
        if not math.isfinite(sum(losses)):
            raise TrainingDiverged(f"the loss is {sum(losses)} in epoch {epoch:.2f}; try a lower learning_rate")
        averaged.update()
        evaluations.append(Evaluation(epoch, sum(losses) / len(losses), evaluate(averaged.network, data, VALID)))
        on_evaluation(evaluations[-1])
        since_best = len(evaluations) - 1 - _position_of_best(evaluations)
        if since_best == 0:
            best_state = copy.deepcopy(averaged.network.state_dict())
        elif since_best >= config.patience:
            break
    network.load_state_dict(best_state)
    best = evaluations[_position_of_best(evaluations)]
    return TrainingRun(tuple(evaluations), best, seconds, num_samples / seconds)


def _chunks(impressions: Indices, config: TrainConfig, rng: np.random.Generator) -> Iterator[tuple[float, Indices]]:
    """The training rows, shuffled anew each epoch, in the portions between two looks at `valid`."""
    for epoch in range(config.epochs):
        shuffled = rng.permutation(impressions)
        for part, chunk in enumerate(np.array_split(shuffled, config.evaluations_per_epoch), start=1):
            yield epoch + part / config.evaluations_per_epoch, chunk


def _position_of_best(evaluations: Sequence[Evaluation]) -> int:
    """The earliest of those with the highest GAUC."""
    return max(range(len(evaluations)), key=lambda position: evaluations[position].valid["gauc"])
