"""All diagnostics of a finished network, from one prediction pass over each split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from model.nets.registry import Network
from training.data.dataset import Dataset
from training.data.encoded import EncodedDataset
from training.data.split import TRAIN
from training.diagnostics.activations import Activations, activations
from training.diagnostics.buckets import BucketGauc, gauc_by_bucket, history_length_buckets, popularity_buckets
from training.diagnostics.reliability import Reliability, reliability
from training.predict import Predictions


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """By split, but for the activations.

    Attributes:
        gauc_by_history_length: buckets of the number of behaviours that the network sees.
        gauc_by_item_popularity: buckets of the item's occurrences in the training set, as candidate or behaviour.
        activations: None for a network without an activation unit.
    """

    reliability: Mapping[str, Reliability]
    gauc_by_history_length: Mapping[str, tuple[BucketGauc, ...]]
    gauc_by_item_popularity: Mapping[str, tuple[BucketGauc, ...]]
    activations: Activations | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(
    network: Network, dataset: Dataset, data: EncodedDataset, predictions: Mapping[str, Predictions]
) -> Diagnostics:
    """Args:
    predictions: by split, valid among them. Their CTRs are what is judged; the network gives activation weights only.
    """
    lengths = history_length_buckets(data.encoder.schema.max_behaviours)
    count_N = data.item_counts[data.candidate_rows_N]
    popularity = popularity_buckets(count_N[data.split_rows[TRAIN]])
    return Diagnostics(
        reliability={split: reliability(found.clicked_N, found.ctr_N) for split, found in predictions.items()},
        gauc_by_history_length={
            split: gauc_by_bucket(found, lengths, (data.last_N - data.first_N)[found.impressions])
            for split, found in predictions.items()
        },
        gauc_by_item_popularity={
            split: gauc_by_bucket(found, popularity, count_N[found.impressions]) for split, found in predictions.items()
        },
        activations=activations(network, dataset, data),
    )
