"""State of a training: everything that its steps change, as a checkpoint holds it."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from dinrank.model.bundle.encoding import Indices
from dinrank.model.nets.registry import Network
from dinrank.training.config import TrainConfig
from dinrank.training.fit.averaging import AveragedNetwork
from dinrank.training.fit.lazy_adam import LazyAdam
from dinrank.training.fit.regularisation import table_decay


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Result of one look at `valid`.

    Attributes:
        epoch: passes over the training rows so far, a fraction within an epoch.
        train_loss: mean log loss of the steps since the last look.
        valid: metrics of the valid split.
    """

    epoch: float
    train_loss: float
    valid: dict[str, float]


class Optimisers:
    """Adam for the layers, lazy Adam for embedding tables, which costs only the rows of the batch."""

    def __init__(self, network: nn.Module, config: TrainConfig) -> None:
        tables = [module.weight for module in network.modules() if isinstance(module, nn.Embedding)]
        in_tables = {id(table) for table in tables}
        layers = [parameter for parameter in network.parameters() if id(parameter) not in in_tables]
        self._layers = torch.optim.Adam(layers, lr=config.learning_rate)
        self._tables = LazyAdam(tables, learning_rate=config.embedding_learning_rate)

    def step(self, loss: Tensor) -> None:
        self._layers.zero_grad()
        self._tables.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._layers.step()
        self._tables.step()

    def state_dict(self) -> dict[str, Any]:
        return {"layers": self._layers.state_dict(), "tables": self._tables.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._layers.load_state_dict(state["layers"])
        self._tables.load_state_dict(state["tables"])


class TrainingState:
    """A training between two looks at `valid`.

    Attributes:
        evaluations: every look so far; their number is the training's position.
        seconds: spent in training steps.
        num_samples: impressions trained on in them, repeated ones counted again.
    """

    def __init__(self, network: Network, train_rows: Indices, config: TrainConfig, rng: np.random.Generator) -> None:
        self.network = network
        self.optimisers = Optimisers(network, config)
        self.averaged = AveragedNetwork(network, every=config.average_every, table_decay=table_decay(config))
        self.evaluations: list[Evaluation] = []
        self.seconds = 0.0
        self.num_samples = 0
        self._best_state: dict[str, Tensor] = {}
        self._rng = rng
        self._train_rows = train_rows
        self._config = config
        self._shuffle()

    @property
    def best(self) -> Evaluation:
        return self.evaluations[self._position_of_best()]

    @property
    def is_finished(self) -> bool:
        """Return whether nothing is left to train on: the last epoch or the patience is over."""
        return len(self.evaluations) == self._config.epochs * self._config.evaluations_per_epoch or self._is_stale()

    def portions(self) -> Iterator[tuple[float, Indices]]:
        """Yield the remaining portions: the epoch after each and its training rows up to a look, reshuffled each epoch.

        Call `look` after each portion. They end with the last epoch or the patience.
        """
        per_epoch = self._config.evaluations_per_epoch
        while not self.is_finished:
            epoch, part = divmod(len(self.evaluations), per_epoch)
            if part == 0 and epoch > 0:
                self._shuffle()
            yield epoch + (part + 1) / per_epoch, np.array_split(self._shuffled, per_epoch)[part]

    def look(self, evaluation: Evaluation) -> None:
        """Count a look at `valid` and keep the averaged network's state when it is the best so far."""
        self.evaluations.append(evaluation)
        if self._position_of_best() < len(self.evaluations) - 1:
            return
        for name, tensor in self.averaged.network.state_dict().items():
            if name in self._best_state:
                self._best_state[name].copy_(tensor)
            else:
                self._best_state[name] = tensor.clone()

    def finish(self) -> None:
        """Leave the network in its best state, an ordinary network again."""
        self.averaged.close()
        self.network.load_state_dict(self._best_state)

    def state_dict(self) -> dict[str, Any]:
        """Return the state after a look; tensors are not copied."""
        progress = {
            "evaluations": [asdict(evaluation) for evaluation in self.evaluations],
            "seconds": self.seconds,
            "num_samples": self.num_samples,
            "numpy_rng": self._rng.bit_generator.state,
            "numpy_rng_at_shuffle": self._rng_at_shuffle,
        }
        return {
            "progress": json.dumps(progress),
            "torch_rng": torch.get_rng_state(),
            "network": self.network.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimisers": self.optimisers.state_dict(),
            "best": self._best_state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Resume from `state`, with the same random numbers."""
        progress = json.loads(state["progress"])
        self.evaluations = [Evaluation(**evaluation) for evaluation in progress["evaluations"]]
        self.seconds, self.num_samples = progress["seconds"], progress["num_samples"]
        self._rng.bit_generator.state = progress["numpy_rng_at_shuffle"]
        self._shuffle()
        self._rng.bit_generator.state = progress["numpy_rng"]
        torch.set_rng_state(state["torch_rng"])
        self.network.load_state_dict(state["network"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimisers.load_state_dict(state["optimisers"])
        self._best_state = state["best"]

    def _shuffle(self) -> None:
        self._rng_at_shuffle = self._rng.bit_generator.state
        self._shuffled = self._rng.permutation(self._train_rows)

    def _position_of_best(self) -> int:
        """Return the earliest look with the highest GAUC."""
        gaucs = [evaluation.valid["gauc"] for evaluation in self.evaluations]
        return gaucs.index(max(gaucs))

    def _is_stale(self) -> bool:
        seen = len(self.evaluations)
        return seen > 0 and seen - 1 - self._position_of_best() >= self._config.patience
