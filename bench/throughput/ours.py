"""Our DIN, trained with the parts of `training/fit/loop.py`: batches, both optimisers, weight averaging."""

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from bench.throughput.arrays import read_encoded
from bench.throughput.setting import EMBEDDING_DIM, LEARNING_RATE, SEED, TOWER, UNIT, Setting
from bench.throughput.worker import Arrays, serve
from dinrank.model.layers.interest import Pooling
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.batches import Batch, HistoryThinning, batches
from dinrank.training.fit.loop import training_step
from dinrank.training.fit.regularisation import MiniBatchAwareL2
from dinrank.training.fit.state import TrainingState

# The paper's network, as the others have it: plain sum, no product in the tower. No behaviours are dropped, as the
# others cannot do that.
CONFIG = TrainConfig(
    network=NetworkConfig(
        embedding_dim=EMBEDDING_DIM,
        unit=UNIT,
        unit_activation=Activation.DICE,
        initial_weight=0.0,
        tower=TOWER,
        tower_activation=Activation.RELU,
        interest_pooling=Pooling.SUM,
        interest_product=False,
    ),
    learning_rate=LEARNING_RATE,
    embedding_learning_rate=LEARNING_RATE,
    max_behaviour_dropout=0.0,
)


class Ours:
    def __init__(self, setting: Setting, arrays: Arrays) -> None:
        self._data = read_encoded(Path(setting.data), setting.attribute)
        network = build_network(NetworkName.DIN, self._data.encoder.schema, CONFIG.network).train()
        rng = np.random.default_rng(SEED)
        self._state = TrainingState(network, arrays["impression"], CONFIG, rng)
        self._regularisation = MiniBatchAwareL2(network, self._data, CONFIG.mini_batch_aware_l2)
        thinning = HistoryThinning(CONFIG.max_behaviour_dropout, rng)
        self._batches = batches(self._data, arrays["impression"], setting.batch_size, thinning=thinning)

    def loop(self, num_batches: int) -> float:
        return sum([self.step(batch) for batch in islice(self._batches, num_batches)]) / num_batches

    def prepare(self, num_batches: int) -> Sequence[Batch]:
        return list(islice(self._batches, num_batches))

    def step(self, batch: Batch) -> float:
        return training_step(self._state, batch, CONFIG, self._regularisation)


if __name__ == "__main__":
    serve(Ours, "dinrank")
