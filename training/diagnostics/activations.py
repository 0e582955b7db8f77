"""Activation maps: raw weights of a few real users' behaviours, as `explain` returns them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dinrank.model.bundle.catalogue import FIRST_ROW
from dinrank.model.bundle.request import encode_request
from dinrank.model.bundle.schema import ITEM_ID, Group, Kind
from dinrank.model.nets.registry import Network
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.data.split import VALID
from dinrank.training.export.bundle import ServingGraph
from dinrank.training.requests import RequestBuilder

NUM_USERS = 3
NUM_OTHERS = 7  # candidates besides the clicked one
MAX_SHOWN = 24  # behaviours, the newest


@dataclass(frozen=True, slots=True)
class ShownItem:
    """Attributes:
    attribute: the item's value of the feature that the diagnostics name; empty when unknown.
    """

    item_id: str
    attribute: str


# Legend: C = candidates, T = behaviours shown.
@dataclass(frozen=True, slots=True)
class ActivationMap:
    """One user's candidates against the user's behaviours.

    Attributes:
        num_behaviours: seen by the network; the newest of them are shown.
        candidates: the first is the one that the user clicked.
        behaviours: oldest first.
        weights_CT: raw, candidate by candidate.
    """

    user_id: str
    num_behaviours: int
    candidates: tuple[ShownItem, ...]
    behaviours: tuple[ShownItem, ...]
    weights_CT: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True)
class Activations:
    """Attributes:
    attribute: the item feature that describes items; None when the data set has none but ids and numbers.
    maps: by ascending length of the history.
    """

    attribute: str | None
    maps: tuple[ActivationMap, ...]


def activations(network: Network, dataset: Dataset, data: EncodedDataset) -> Activations | None:
    """Map `chosen_impressions` against `other_candidates`; None for a network without an activation unit."""
    graph, builder = ServingGraph(network, data.encoder.schema), RequestBuilder(dataset, data)
    attribute = _describing_feature(dataset)
    names = _descriptions(dataset, attribute)
    others = other_candidates(data)
    maps = []
    for impression in chosen_impressions(data):
        clicked = str(dataset.impressions["item_id"][impression])
        more = [item for item in others if item != clicked]
        request = builder.request(impression, more_candidates=more)
        weights_CT = graph.activation_weights(encode_request(data.encoder, request).inputs)
        if weights_CT is None:
            return None
        maps.append(
            ActivationMap(
                user_id=builder.user_id(impression),
                num_behaviours=len(request.behaviours),
                candidates=_shown([clicked, *more], names),
                behaviours=_shown(list(map(str, request.behaviours[-MAX_SHOWN:])), names),
                weights_CT=tuple(tuple(row) for row in weights_CT[:, -MAX_SHOWN:].tolist()),
            )
        )
    return Activations(attribute, tuple(maps))


def chosen_impressions(data: EncodedDataset) -> list[int]:
    """Choose valid impressions of up to `NUM_USERS` users, independently of the weights.

    Of each user with clicked valid impressions that have behaviours, the last such impression in the log; of these,
    ordered by the number of behaviours, those at a quarter, a half and three quarters.
    """
    valid = data.split_rows[VALID]
    length_N = data.last_N - data.first_N
    candidates = valid[(data.clicked_N[valid] > 0) & (length_N[valid] > 0)][::-1]
    _, last_of_user = np.unique(data.user_N[candidates], return_index=True)
    by_length = candidates[last_of_user]
    by_length = by_length[np.lexsort((by_length, length_N[by_length]))]
    if not len(by_length):
        return []
    places = np.arange(1, NUM_USERS + 1) / (NUM_USERS + 1) * (len(by_length) - 1)
    chosen: list[int] = by_length[np.unique(places.astype(int))].tolist()
    return chosen


def other_candidates(data: EncodedDataset) -> list[str]:
    """Choose items from the most to the least frequent, each for an equal share of the training occurrences."""
    counts = data.item_counts[FIRST_ROW:]
    by_count = np.argsort(-counts, kind="stable")
    share = np.cumsum(counts[by_count]) / counts.sum()
    places = np.searchsorted(share, (np.arange(NUM_OTHERS) + 0.5) / NUM_OTHERS)
    items = data.encoder.catalogue.item_ids
    return [items[position] for position in by_count[np.unique(places)]]


def _describing_feature(dataset: Dataset) -> str | None:
    """Return the first item feature that is neither the id nor a number."""
    for feature in dataset.group(Group.ITEM):
        if feature.name != ITEM_ID and feature.kind is not Kind.NUMERIC:
            return feature.name
    return None


def _descriptions(dataset: Dataset, attribute: str | None) -> dict[str, str]:
    if attribute is None:
        return {}
    return {
        item_id: ", ".join(str(part) for part in (value if isinstance(value, list) else [value]) if part is not None)
        for item_id, value in zip(dataset.items["item_id"], dataset.items[attribute].to_list(), strict=True)
    }


def _shown(item_ids: Sequence[str], names: dict[str, str]) -> tuple[ShownItem, ...]:
    return tuple(ShownItem(item_id, names.get(item_id, "")) for item_id in item_ids)
