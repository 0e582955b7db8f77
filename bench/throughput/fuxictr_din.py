"""DIN built from FuxiCTR's layers, trained by its own step.

The package has layers and training loop but not the model zoo, so the network is written here from the paper
with FuxiCTR's `FeatureEmbeddingDict`, `DIN_Attention` (Dice, no softmax) and `MLP_Block`. Loss, Adam, the clipping of
gradients at norm 10 and the step are those of its `BaseModel`. Where it has a choice, this takes the faster one: no
regulariser, no dropout, no progress bar.

Batches come from its `NpzDataLoader`, which keeps the file in memory, without a loader process. By default it has
one, which shares the cores with the training and has two batches ready when a turn begins; measure that with
`--fuxictr-loaders 1`.
"""

import tempfile
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import islice

import torch
from fuxictr.features import FeatureMap
from fuxictr.pytorch.dataloaders.npz_dataloader import NpzDataLoader
from fuxictr.pytorch.layers import DIN_Attention, FeatureEmbeddingDict, MLP_Block
from fuxictr.pytorch.models import BaseModel
from torch import Tensor

from bench.throughput.setting import EMBEDDING_DIM, LEARNING_RATE, NUM_SLOTS, TOWER, UNIT, Setting
from bench.throughput.worker import Arrays, serve

FEATURES = ("item_id", "attribute")
MAX_GRADIENT_NORM = 10.0  # the default of its `fit`


# Legend: N = impressions, T = behaviours, D = width of an item.
class FuxiDIN(BaseModel):
    def __init__(self, feature_map: FeatureMap) -> None:
        super().__init__(feature_map, model_id="DIN", gpu=-1, verbose=0, model_root=tempfile.gettempdir(), metrics=[])
        item_dim = len(FEATURES) * EMBEDDING_DIM
        self.embedding = FeatureEmbeddingDict(feature_map, EMBEDDING_DIM)
        self.attention = DIN_Attention(item_dim, attention_units=list(UNIT), hidden_activations="Dice")
        self.tower = MLP_Block(
            input_dim=2 * item_dim,
            hidden_units=list(TOWER),
            hidden_activations="ReLU",
            output_dim=1,
            output_activation=self.output_activation,
        )
        self.compile("adam", "binary_crossentropy", LEARNING_RATE)
        self.reset_parameters()
        self._max_gradient_norm = MAX_GRADIENT_NORM

    def forward(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        indices = self.get_inputs(inputs)
        vectors = self.embedding(indices)
        query_ND = torch.cat([vectors[name] for name in FEATURES], dim=-1)
        keys_NTD = torch.cat([vectors[f"hist_{name}"] for name in FEATURES], dim=-1)
        interest_ND = self.attention(query_ND, keys_NTD, indices["hist_item_id"] != 0)
        return {"y_pred": self.tower(torch.cat([query_ND, interest_ND], dim=-1))}


def make_feature_map(arrays: Arrays) -> FeatureMap:
    feature_map = FeatureMap("bench", data_dir=tempfile.gettempdir())
    feature_map.labels = ["clicked"]
    feature_map.features = OrderedDict(
        (name, {"source": "item", "type": "categorical", "padding_idx": 0, "vocab_size": int(arrays[f"num_{name}"])})
        for name in FEATURES
    )
    for name in FEATURES:
        shared = {"source": "user", "type": "sequence", "max_len": NUM_SLOTS, "share_embedding": name}
        feature_map.features[f"hist_{name}"] = {**feature_map.features[name], **shared}
    feature_map.default_emb_dim = EMBEDDING_DIM
    feature_map.num_fields = feature_map.get_num_fields()
    feature_map.set_column_index()
    return feature_map


class FuxiCTR:
    def __init__(self, setting: Setting, arrays: Arrays) -> None:
        feature_map = make_feature_map(arrays)
        self._model = FuxiDIN(feature_map)
        self._model.train()
        loader = NpzDataLoader(
            feature_map,
            setting.arrays,
            batch_size=setting.batch_size,
            shuffle=False,  # the rows are in random order already, the same for all
            num_workers=setting.fuxictr_loaders,
        )
        self._batches = iter(loader)

    def loop(self, num_batches: int) -> float:
        return sum([self.step(batch) for batch in islice(self._batches, num_batches)]) / num_batches

    def prepare(self, num_batches: int) -> Sequence[dict[str, Tensor]]:
        return list(islice(self._batches, num_batches))

    def step(self, batch: dict[str, Tensor]) -> float:
        return self._model.train_step(batch).item()


if __name__ == "__main__":
    serve(FuxiCTR, "fuxictr")
