"""Score slates with a bundle as the service would: one request per slate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dinrank.model.bundle.catalogue import UNKNOWN_ROW
from dinrank.model.bundle.encoding import Attributes, Encoder, Indices, UnknownFeatureError
from dinrank.model.bundle.graph import behaviour_input, candidate_input, request_input
from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.request import encode_request
from dinrank.model.bundle.schema import ITEM_ID, Feature, Group
from dinrank.training.data.behaviours import BehaviourWindows, find_windows
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import encode_request_features
from dinrank.training.errors import ReplayError
from dinrank.training.export.check import largest_difference, open_graph
from dinrank.training.replay.slates import Slates


# Legend: N = impressions of all slates, S = slates, B = behaviours of all users, I = distinct items.
def score_slates(
    bundle: Bundle, dataset: Dataset, slates: Slates, *, on_slates: Callable[[int], None] = lambda slates: None
) -> NDArray[np.float64]:
    """Return the CTR of every impression in `slates.rows_N`: [N].

    A slate is one request at the moment of its earliest impression: its history is the user's
    behaviours strictly before that, so no label of the slate leaks, and its context is that impression's. Items not
    in the bundle bring their attributes from the data set, as newly published items do.

    Args:
        on_slates: called with the number of slates done since it was last called.

    Raises:
        ReplayError: the data set lacks a feature that the bundle needs, or has it in another form; or a CTR is invalid.
        ParityError: the graph does not reproduce the bundle's golden answers.
    """
    _require_features(bundle, dataset)
    run = open_graph(bundle.graph_path)
    for number, answer in enumerate(bundle.golden):
        largest_difference(
            np.asarray(answer.ctr),
            run(encode_request(bundle.encoder, answer.request).inputs),
            circumstance=f"in golden request {number} of {bundle.path}",
            allowed=answer.allowed,
        )
    requests = _encode(bundle, dataset, slates)
    ctr_N = np.empty(len(slates.rows_N))
    for slate in range(len(slates)):
        ctr_N[slates.of(slate)] = run(requests.inputs(slate))
        on_slates(1)
    if not np.all((ctr_N >= 0.0) & (ctr_N <= 1.0)):  # false for NaN too
        raise ReplayError(f"{bundle.path} gave a CTR that is not from 0 to 1: the bundle is broken, train it again")
    return ctr_N


def known_share(bundle: Bundle, dataset: Dataset, slates: Slates) -> float:
    """Return the share of the slates' impressions that show an item from the bundle's catalogue."""
    shown = dataset.impressions["item_id"][slates.rows_N].value_counts()
    is_known = bundle.encoder.catalogue.rows(shown["item_id"].to_list()) != UNKNOWN_ROW
    return float(np.average(is_known, weights=shown["count"].to_numpy()))


@dataclass(frozen=True, slots=True)
class _EncodedSlates:
    """Every distinct item and every request encoded once; a slate's inputs are looked up in them.

    Attributes:
        items_I: per item feature.
        of_request_S: per input of a user or context feature.
        candidate_N, behaviour_B: positions of the items.
    """

    slates: Slates
    item_features: tuple[Feature, ...]
    items_I: Mapping[str, Indices]
    of_request_S: Mapping[str, Indices]
    candidate_N: Indices
    behaviour_B: Indices
    windows_S: BehaviourWindows

    def inputs(self, slate: int) -> dict[str, Indices]:
        """The graph's inputs."""
        candidates_C = self.candidate_N[self.slates.of(slate)]
        behaviours_T = self.behaviour_B[self.windows_S.first_N[slate] : self.windows_S.last_N[slate]]
        feed = {name: of_request_S[slate : slate + 1] for name, of_request_S in self.of_request_S.items()}
        for feature in self.item_features:
            feed[candidate_input(feature)] = self.items_I[feature.name][candidates_C]
            feed[behaviour_input(feature)] = self.items_I[feature.name][behaviours_T]
        return feed


def _encode(bundle: Bundle, dataset: Dataset, slates: Slates) -> _EncodedSlates:
    schema = bundle.schema
    moments = dataset.impressions[slates.moment_S]
    windows = find_windows(moments, dataset.behaviours, max_behaviours=schema.max_behaviours)
    item_ids = pl.concat(
        [dataset.impressions["item_id"][slates.rows_N], dataset.behaviours["item_id"][windows.order_B]]
    )
    distinct = item_ids.unique(maintain_order=True)
    candidate_N, behaviour_B = np.split(_codes(item_ids, distinct), [len(slates.rows_N)])
    try:
        items_I = bundle.encoder.items(distinct.to_list(), _new_items(bundle.encoder, dataset, distinct))
        by_name = encode_request_features(dataset, bundle.encoder, moments)
    except UnknownFeatureError as exc:
        raise ReplayError(
            f"{bundle.path} cannot read the data set: {exc}. Declare that feature in schema.toml with the kind that "
            "the bundle was trained with, or train the bundle on this data set"
        ) from exc
    of_request = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
    return _EncodedSlates(
        slates=slates,
        item_features=schema.group(Group.ITEM),
        items_I=items_I,
        of_request_S={request_input(feature): by_name[feature.name] for feature in of_request},
        candidate_N=candidate_N,
        behaviour_B=behaviour_B,
        windows_S=windows,
    )


def _require_features(bundle: Bundle, dataset: Dataset) -> None:
    """Require the user and context features: only the data set has them, and missing ones would silently be unknown."""
    declared = {(feature.group, feature.name) for feature in dataset.features}
    needed = [*bundle.schema.group(Group.USER), *bundle.schema.group(Group.CONTEXT)]
    missing = [feature for feature in needed if (feature.group, feature.name) not in declared]
    if missing:
        named = ", ".join(f"{feature.name} ({feature.group})" for feature in missing)
        raise ReplayError(
            f"{bundle.path} needs features that the data set {dataset.name} does not declare: {named}. Add them to its "
            "schema.toml and tables, or replay on a log of the kind that the bundle was trained on"
        )


def _codes(values: pl.Series, distinct: pl.Series) -> Indices:
    """Return each value's position in `distinct`."""
    codes = distinct.to_frame("value").with_row_index("code")
    joined = values.to_frame("value").join(codes, on="value", how="left", maintain_order="left")
    return joined["code"].cast(pl.Int64).to_numpy()


def _new_items(encoder: Encoder, dataset: Dataset, distinct: pl.Series) -> dict[int, Attributes]:
    """Return raw attributes, by position, of items in the data set that are not in the catalogue."""
    names = [
        feature.name
        for feature in encoder.schema.group(Group.ITEM)
        if feature.name != ITEM_ID and feature.name in dataset.items.columns
    ]
    is_new = encoder.catalogue.rows(distinct.to_list()) == UNKNOWN_ROW
    new = distinct.to_frame("item_id").with_row_index("position").filter(pl.Series(is_new))
    described = new.join(dataset.items.select("item_id", *names), on="item_id", how="inner")
    return {int(row.pop("position")): {name: row[name] for name in names} for row in described.iter_rows(named=True)}
