"""A dataset as arrays, from which batches are cut."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dinrank.model.bundle.catalogue import UNKNOWN_ROW
from dinrank.model.bundle.encoding import Encoder, Indices
from dinrank.model.bundle.schema import Group
from dinrank.training.data.behaviours import count_in_windows, find_windows
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.split import HISTORY, TEST, TRAIN, VALID
from dinrank.training.data.vocabularies import (
    Occurrences,
    build_encoder,
    catalogue_items,
    encode_table_column,
    item_counts,
)


# Legend: N = impressions, B = behaviours of all users, M = slots of a multi-valued feature.
@dataclass(frozen=True, slots=True)
class EncodedDataset:
    """Histories are kept once, in one flat array; impression n's is `behaviour_rows_B[first_N[n]:last_N[n]]`.

    Attributes:
        candidate_rows_N, behaviour_rows_B: rows of the encoder's catalogue.
        request: indices of user and context features, [N] or [N, M].
        user_N: a number per user, to group impressions by.
        behaviour_source_B: the behaviour's row in `dataset.behaviours`.
        split_rows: the impressions of train, valid and test.
        item_counts: occurrences in the training set per catalogue row, as candidate or behaviour.
    """

    encoder: Encoder
    candidate_rows_N: Indices
    behaviour_rows_B: Indices
    behaviour_source_B: Indices
    first_N: Indices
    last_N: Indices
    request: Mapping[str, Indices]
    clicked_N: NDArray[np.float32]
    user_N: Indices
    split_rows: Mapping[str, Indices]
    item_counts: Indices


def encode_dataset(dataset: Dataset, *, min_count: int) -> EncodedDataset:
    """Build vocabularies from the training rows, then encode every row with them.

    Args:
        min_count: a token that occurs less often in the training set is unknown.
    """
    split = dataset.impressions["split"]
    is_train = (split == TRAIN).to_numpy()
    items = catalogue_items(dataset, split.is_in([TRAIN, HISTORY]).to_numpy())
    candidate_rows_N = _catalogue_rows(items, dataset.impressions)
    windows = find_windows(dataset.impressions, dataset.behaviours, max_behaviours=dataset.max_behaviours)
    behaviour_rows_B = _catalogue_rows(items, dataset.behaviours)[windows.order_B]
    occurrences = Occurrences(
        items=item_counts(candidate_rows_N[is_train], np.ones(int(is_train.sum()), dtype=np.int64), len(items))
        + item_counts(behaviour_rows_B, count_in_windows(windows, is_train), len(items)),
        users=_user_counts(dataset, is_train),
        rows=is_train.astype(np.int64),
    )
    encoder = build_encoder(dataset, items, occurrences, min_count=min_count)
    return EncodedDataset(
        encoder=encoder,
        candidate_rows_N=candidate_rows_N,
        behaviour_rows_B=behaviour_rows_B,
        behaviour_source_B=windows.order_B,
        first_N=windows.first_N,
        last_N=windows.last_N,
        request=encode_request_features(dataset, encoder, dataset.impressions),
        clicked_N=dataset.impressions["clicked"].cast(pl.Float32).to_numpy(),
        user_N=dataset.impressions["user_id"].rank("dense").cast(pl.Int64).to_numpy(),
        split_rows={name: (split == name).arg_true().cast(pl.Int64).to_numpy() for name in (TRAIN, VALID, TEST)},
        item_counts=np.concatenate([[0, 0], occurrences.items]),
    )


def _catalogue_rows(items: pl.DataFrame, events: pl.DataFrame) -> Indices:
    rows = items.select("item_id").with_row_index("row", offset=UNKNOWN_ROW + 1)
    joined = events.select("item_id").join(rows, on="item_id", how="left", maintain_order="left")
    return joined["row"].cast(pl.Int64).fill_null(UNKNOWN_ROW).to_numpy()


def _user_counts(dataset: Dataset, is_train: NDArray[np.bool_]) -> Indices:
    counts = dataset.impressions.filter(pl.Series(is_train)).group_by("user_id").len("count")
    joined = dataset.users.select("user_id").join(counts, on="user_id", how="left", maintain_order="left")
    return joined["count"].cast(pl.Int64).fill_null(0).to_numpy()


def encode_request_features(dataset: Dataset, encoder: Encoder, impressions: pl.DataFrame) -> dict[str, Indices]:
    """User and context features of every impression: per feature [N] or [N, M].

    A user who is not in users.parquet has unknown ones.
    """
    schema = encoder.schema
    table = impressions
    user_features = [feature.name for feature in schema.group(Group.USER) if feature.name != "user_id"]
    if user_features:
        users = dataset.users.select("user_id", *user_features)
        table = table.drop(user_features, strict=False).join(users, on="user_id", how="left", maintain_order="left")
    features = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))
    return {feature.name: encode_table_column(feature, encoder.vocabularies, table) for feature in features}
