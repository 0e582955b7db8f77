"""The training loop, the same for every network."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.nets.registry import Network
from dinrank.training.config import TrainConfig
from dinrank.training.data.batches import Batch, HistoryThinning, batches
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TRAIN, VALID
from dinrank.training.errors import TrainingDiverged
from dinrank.training.fit.checkpoint import Checkpoint
from dinrank.training.fit.regularisation import MiniBatchAwareL2
from dinrank.training.fit.state import Evaluation, TrainingState
from dinrank.training.measure.predict import evaluate


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """Attributes:
    evaluations: every look at `valid`, in order.
    best: the evaluation whose state the network is left in.
    seconds: spent in training steps, evaluation excluded; those of a resumed run's beginning included.
    samples_per_second: training impressions over those seconds.
    """

    evaluations: tuple[Evaluation, ...]
    best: Evaluation
    seconds: float
    samples_per_second: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def train(
    network: Network,
    data: EncodedDataset,
    config: TrainConfig,
    *,
    rng: np.random.Generator,
    checkpoint: Checkpoint | None = None,
    on_step: Callable[[int], None] = lambda samples: None,
    on_evaluation: Callable[[Evaluation], None] = lambda evaluation: None,
) -> TrainingRun:
    """Train until `valid` GAUC stops improving, and leave the network in its best state.

    The average of recent weights is measured and kept.

    Args:
        checkpoint: written after each look at `valid`. If there is one already, training resumes from it and ends as
            if it had never stopped; `network` and `rng` must be as they were at its start.
        on_step: called after each step with the number of impressions in it, and once with those of the checkpoint.
        on_evaluation: called after each look at `valid`, and before that for the looks of the checkpoint.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
        CheckpointError: the checkpoint cannot be used or written.
    """
    state = TrainingState(network, data.split_rows[TRAIN], config, rng)
    if checkpoint is not None and (saved := checkpoint.read()) is not None:
        state.load_state_dict(saved)
        on_step(state.num_samples)
        for evaluation in state.evaluations:
            on_evaluation(evaluation)
    thinning = HistoryThinning(config.max_behaviour_dropout, rng)
    regularisation = MiniBatchAwareL2(network, data, config.mini_batch_aware_l2)
    for epoch, rows in state.portions():
        network.train()
        started, losses = time.perf_counter(), []
        for batch in batches(data, rows, config.batch_size, thinning=thinning):
            losses.append(training_step(state, batch, config, regularisation))
            on_step(len(batch.clicked_UC))
        state.seconds += time.perf_counter() - started
        state.num_samples += len(rows)
        if not math.isfinite(sum(losses)):
            raise TrainingDiverged(f"the loss is {sum(losses)} in epoch {epoch:.2f}; try a lower learning_rate")
        state.averaged.before_look()
        state.look(Evaluation(epoch, sum(losses) / len(losses), _looked_at(state, data, epoch)))
        if checkpoint is not None:
            checkpoint.write(state.state_dict(), is_finished=state.is_finished)
        on_evaluation(state.evaluations[-1])
    state.finish()
    return TrainingRun(tuple(state.evaluations), state.best, state.seconds, state.num_samples / state.seconds)


def _looked_at(state: TrainingState, data: EncodedDataset, epoch: float) -> dict[str, float]:
    """Return the metrics of `valid`. A step can ruin the weights after the last loss, and GAUC ranks NaN as well."""
    found = evaluate(state.averaged.network, data, VALID)
    if not math.isfinite(found["log_loss"]):
        raise TrainingDiverged(
            f"the log loss of valid is {found['log_loss']} in epoch {epoch:.2f}; try a lower learning_rate"
        )
    return found


def training_step(
    state: TrainingState, batch: Batch, config: TrainConfig, regularisation: Callable[[NetworkInputs], Tensor | float]
) -> float:
    """Take one step on one batch; return the log loss before it, without regularisation and auxiliary loss."""
    output = state.network(batch.inputs)
    loss = F.binary_cross_entropy_with_logits(output.logit_UC, batch.clicked_UC)
    extra = regularisation(batch.inputs)
    if output.auxiliary_loss is not None:
        extra = extra + config.auxiliary_weight * output.auxiliary_loss
    state.optimisers.step(loss + extra)
    state.averaged.after_step()
    return loss.item()
