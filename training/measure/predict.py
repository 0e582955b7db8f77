"""Predict logits and CTRs of logged impressions in the trainer."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from dinrank.model.bundle.encoding import Indices
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.registry import Network
from dinrank.training.data.batches import batches
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.measure.metrics import all_metrics

PREDICTION_BATCH = 4096


# Legend: N = impressions to predict.
@dataclass(frozen=True, slots=True)
class Predictions:
    """Predictions and labels of a split's impressions: one pass, shared by all measurements.

    Attributes:
        impressions: rows of the encoded dataset, [N].
        user_N: a number per user.
    """

    impressions: Indices
    user_N: Indices
    clicked_N: NDArray[np.bool_]
    ctr_N: NDArray[np.float32]

    def metrics(self) -> dict[str, float]:
        return all_metrics(self.user_N, self.clicked_N, self.ctr_N)


def predict(network: Network | CalibratedNetwork, data: EncodedDataset, impressions: Indices) -> NDArray[np.float32]:
    """CTR of each impression, [N], with the network in evaluation mode; its mode is restored afterwards."""
    return _ctrs(predict_logits(network, data, impressions))


def predict_logits(
    network: Network | CalibratedNetwork, data: EncodedDataset, impressions: Indices
) -> NDArray[np.float32]:
    """Return the logit of each impression, [N]; otherwise as `predict`."""
    was_training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            logits = [network(batch.inputs).logit_UC[:, 0] for batch in batches(data, impressions, PREDICTION_BATCH)]
    finally:
        network.train(was_training)
    logit_N: NDArray[np.float32] = torch.cat(logits).numpy()
    return logit_N


def evaluate(network: Network | CalibratedNetwork, data: EncodedDataset, split: str) -> dict[str, float]:
    """Return all metrics of one split."""
    return as_predictions(predict_logits(network, data, data.split_rows[split]), data, split).metrics()


def as_predictions(logit_N: NDArray[np.float32], data: EncodedDataset, split: str) -> Predictions:
    """Return the predictions of a split from its impressions' logits."""
    impressions = data.split_rows[split]
    return Predictions(
        impressions=impressions,
        user_N=data.user_N[impressions],
        clicked_N=data.clicked_N[impressions] > 0,
        ctr_N=_ctrs(logit_N),
    )


def _ctrs(logit_N: NDArray[np.float32]) -> NDArray[np.float32]:
    ctr_N: NDArray[np.float32] = torch.sigmoid(torch.from_numpy(logit_N)).numpy()
    return ctr_N
