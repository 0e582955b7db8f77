"""All diagnostics of a finished network, from one prediction pass over each split."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dinrank.model.layers.calibration import NoCalibration
from dinrank.model.nets.registry import Network
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import TRAIN
from dinrank.training.diagnostics.activations import Activations, activations
from dinrank.training.diagnostics.buckets import BucketGauc, gauc_by_bucket, history_length_buckets, popularity_buckets
from dinrank.training.diagnostics.reliability import Reliability, reliability
from dinrank.training.measure.measurement import Measurement
from dinrank.training.measure.predict import Predictions


@dataclass(frozen=True, slots=True)
class Diagnostics:
    """By split, except for the activations.

    Attributes:
        reliability: of the calibrated CTRs.
        reliability_before: of the network's own; empty without a calibration.
        gauc_by_history_length: buckets of the number of behaviours that the network sees.
        gauc_by_item_popularity: buckets of the item's occurrences in the training set, as candidate or behaviour.
        activations: None for a network without an activation unit.
    """

    reliability: Mapping[str, Reliability]
    reliability_before: Mapping[str, Reliability]
    gauc_by_history_length: Mapping[str, tuple[BucketGauc, ...]]
    gauc_by_item_popularity: Mapping[str, tuple[BucketGauc, ...]]
    activations: Activations | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def diagnose(network: Network, dataset: Dataset, data: EncodedDataset, measurement: Measurement) -> Diagnostics:
    """Run all diagnostics; `network` only gives the activation weights, the CTRs are the measurement's."""
    predicted = measurement.predicted
    is_calibrated = not isinstance(measurement.calibration.layer, NoCalibration)
    lengths = history_length_buckets(data.encoder.schema.max_behaviours)
    count_N = data.item_counts[data.candidate_rows_N]
    popularity = popularity_buckets(count_N[data.split_rows[TRAIN]])
    return Diagnostics(
        reliability=_reliability(predicted),
        reliability_before=_reliability(measurement.predicted_before) if is_calibrated else {},
        gauc_by_history_length={
            split: gauc_by_bucket(found, lengths, (data.last_N - data.first_N)[found.impressions])
            for split, found in predicted.items()
        },
        gauc_by_item_popularity={
            split: gauc_by_bucket(found, popularity, count_N[found.impressions]) for split, found in predicted.items()
        },
        activations=activations(network, dataset, data),
    )


def _reliability(predicted: Mapping[str, Predictions]) -> dict[str, Reliability]:
    return {split: reliability(found.clicked_N, found.ctr_N) for split, found in predicted.items()}
