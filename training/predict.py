"""CTRs of logged impressions, as the trainer sees them."""

import numpy as np
import torch
from numpy.typing import NDArray

from model.bundle.encoding import Indices
from model.nets.registry import Network
from training.data.batches import batches
from training.data.encoded import EncodedDataset
from training.metrics import all_metrics

PREDICTION_BATCH = 4096


# Legend: N = impressions asked for.
def predict(network: Network, data: EncodedDataset, impressions: Indices) -> NDArray[np.float32]:
    """CTR of each impression, [N], with the network in evaluation mode; its mode is put back afterwards."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            ctr = [
                torch.sigmoid(network(batch.inputs).logit_UC)[:, 0]
                for batch in batches(data, impressions, PREDICTION_BATCH)
            ]
    finally:
        network.train(was_training)
    ctr_N: NDArray[np.float32] = torch.cat(ctr).numpy()
    return ctr_N


def evaluate(network: Network, data: EncodedDataset, split: str) -> dict[str, float]:
    """All metrics of one split."""
    impressions = data.split_rows[split]
    return all_metrics(data.user_N[impressions], data.clicked_N[impressions] > 0, predict(network, data, impressions))
