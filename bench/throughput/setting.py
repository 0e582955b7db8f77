"""Settings shared by all implementations."""

import json
from dataclasses import asdict, dataclass
from typing import Self

EMBEDDING_DIM = 32  # of item_id and of the attribute each, so an item is twice as wide
UNIT = (80, 40)  # Dice in between
TOWER = (200, 80)  # ReLU in between, both libraries' default; DeepCTR-Torch's tower cannot take its own Dice
NUM_SLOTS = 50  # behaviours, T
LEARNING_RATE = 1e-3
SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Attributes:
    data: dataset directory; only ours reads it; the others read `arrays`.
    attribute: name of the single-valued item feature beside item_id.
    arrays: .npz file of `bench.throughput.arrays`.
    batch_size: impressions a step.
    threads: of torch.
    fuxictr_loaders: processes of FuxiCTR's data loader; 0 loads in the training process.
    """

    data: str
    attribute: str
    arrays: str
    batch_size: int
    threads: int
    fuxictr_loaders: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
