"""Mini-batch aware regularisation: L2 that touches only what the batch touches."""

import torch
from torch import Tensor

from model.bundle.schema import ITEM_ID
from model.layers.embedding import FeatureEmbedding
from model.nets.registry import Network
from training.data.batches import Batch
from training.data.encoded import EncodedDataset


def mini_batch_aware_l2(network: Network, data: EncodedDataset, batch: Batch, strength: float) -> Tensor | float:
    """λ/2 · Σ_j ‖w_j‖² / n_j over the item ids j in the batch; 0 without an item_id feature.

    Its gradient is the paper's λ·(α_mj / n_j)·w_j: n_j counts the id's occurrences in the training set, and α_mj is 1
    for an id that the batch holds at least once, else 0.

    Args:
        strength: λ.

    Source: Zhou et al., KDD 2018, section 5.1, Eq. 6 and 7.
    """
    if not strength or ITEM_ID not in batch.inputs.items:
        return 0.0
    ids_J = torch.unique(batch.inputs.items[ITEM_ID])  # several rare items share the unknown id
    occurrences_J = torch.from_numpy(data.item_id_counts)[ids_J].clamp(min=1)
    tables = [
        module.tables[ITEM_ID]
        for module in network.modules()
        if isinstance(module, FeatureEmbedding) and ITEM_ID in module.tables
    ]
    squares_J = sum(table(ids_J).square().sum(dim=1) for table in tables)
    penalty: Tensor = strength / 2 * (squares_J / occurrences_J).sum()
    return penalty
