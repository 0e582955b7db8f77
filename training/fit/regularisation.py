"""L2 of embedding tables: mini-batch aware, which touches only the rows of the batch, and plain."""

import numpy as np
import torch
from torch import Tensor, nn

from dinrank.model.bundle.schema import Group
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.training.config import TrainConfig
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TRAIN


class MiniBatchAwareL2:
    """λ/2 · Σ_j ‖w_j‖² / n_j over the feature ids j in the batch, in every table that a feature has.

    Its gradient is the paper's λ·(α_mj / n_j)·w_j: n_j counts the id's occurrences in the training set, and α_mj is 1
    for an id that the batch holds at least once, else 0. An item's ids occur as often as the item does, as candidate or
    behaviour of a training row; those of user and context once per training row. Padding is not an id.

    The ids are those of all features, as in the paper, whose sum runs over the whole feature space: item ids, which
    are rare, carry nearly all of it; ids found in half of the rows carry next to nothing. A network that has several
    tables of one feature has a vector w_j in each. Tables of hashed crosses have no ids of their own and are left out.

    Args:
        strength: λ; 0 is none.

    Source: Zhou et al., KDD 2018, section 5.1, Eq. 4 to 7.
    """

    def __init__(self, network: nn.Module, data: EncodedDataset, strength: float) -> None:
        self._strength = strength
        self._tables: dict[str, list[nn.Module]] = {}
        for module in network.modules():
            if strength and isinstance(module, FeatureEmbedding):
                for name, table in module.tables.items():
                    self._tables.setdefault(name, []).append(table)
        self._occurrences = {name: _occurrences(data, name) for name in self._tables}

    def __call__(self, inputs: NetworkInputs) -> Tensor | float:
        """Return the penalty of one batch, to be added to its loss."""
        penalties: list[Tensor] = []
        for name, tables in self._tables.items():
            indices = inputs.items[name] if name in inputs.items else inputs.request[name]
            ids_J = torch.unique(indices)  # several rare items share the unknown id
            occurrences_J = self._occurrences[name][ids_J]
            penalties += [(table(ids_J).square().sum(dim=1) / occurrences_J).sum() for table in tables]
        return self._strength / 2 * torch.stack(penalties).sum() if penalties else 0.0


def table_decay(config: TrainConfig) -> float:
    """Return plain L2's factor for every row of every table after each step: 1 − η·λ, η the tables' learning rate.

    For gradient descent that is the gradient λ·w of λ/2 · Σ‖w‖² over all rows, whether the batch holds them or not.
    Adam would rescale that gradient like any other; here the decay is decoupled from Adam, as only then can it be
    deferred exactly for rows that no batch touches (`LazyRows`).

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019. Deviation: the decay follows the
        step instead of preceding it.
    """
    return 1.0 - config.embedding_learning_rate * config.l2


def _occurrences(data: EncodedDataset, name: str) -> Tensor:
    """n_j by index of a feature, at least 1."""
    schema = data.encoder.schema
    [feature] = [feature for feature in schema.features if feature.name == name]
    if feature.group is Group.ITEM:
        indices = data.encoder.catalogue.columns[name].astype(np.int64)
        times = data.item_counts
    else:
        indices = data.request[name][data.split_rows[TRAIN]]
        times = np.ones(len(indices), dtype=np.int64)
    times = np.broadcast_to(times.reshape(-1, *[1] * (indices.ndim - 1)), indices.shape)
    counts = np.bincount(indices.ravel(), weights=times.ravel(), minlength=feature.num_indices)
    return torch.from_numpy(np.maximum(counts, 1.0).astype(np.float32))
