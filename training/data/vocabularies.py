"""Build vocabularies and catalogue from the training rows."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from dinrank.model.bundle.catalogue import FIRST_ROW, Catalogue, column_with_sentinels
from dinrank.model.bundle.encoding import Encoder, Indices, encode_column
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import Buckets, FeatureVocabulary, RawScalar, Vocabulary, token
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.declaration import DeclaredFeature

NUM_BUCKETS = 20  # of a numeric feature, each with about as many training rows


@dataclass(frozen=True, slots=True)
class Occurrences:
    """Occurrence counts in the training set.

    Attributes:
        items: per item (in the catalogue's order) its occurrences as candidate or behaviour of a training row.
        users: per row of the users table the number of its training rows.
        rows: per impression 1 for a training row, else 0.
    """

    items: NDArray[np.int64]
    users: NDArray[np.int64]
    rows: NDArray[np.int64]


def catalogue_items(dataset: Dataset, is_known: NDArray[np.bool_]) -> pl.DataFrame:
    """Return the catalogue's items: all of items.parquet, then those that only the logs name.

    Args:
        is_known: per impression whether it may be used: valid and test rows may not.
    """
    seen = dataset.impressions.filter(pl.Series(is_known)).select("item_id").unique(maintain_order=True)
    extra = seen.join(dataset.items, on="item_id", how="anti", maintain_order="left")
    return pl.concat([dataset.items, extra], how="diagonal")


def build_encoder(dataset: Dataset, items: pl.DataFrame, occurrences: Occurrences, *, min_count: int) -> Encoder:
    """Schema, vocabularies and catalogue.

    Args:
        min_count: a token that occurs less often in the training set is unknown.
    """
    tables = {
        Group.ITEM: (items, occurrences.items),
        Group.USER: (dataset.users, occurrences.users),
        Group.CONTEXT: (dataset.impressions, occurrences.rows),
    }
    features, vocabularies = [], {}
    for declared in dataset.features:
        table, counts = tables[declared.group]
        vocabulary = _build_vocabulary(declared, table[declared.name], counts, min_count)
        vocabularies[declared.name] = vocabulary
        features.append(_build_feature(declared, table[declared.name], vocabulary))
    schema = FeatureSchema(features=tuple(features), max_behaviours=dataset.max_behaviours)
    columns = {
        feature.name: column_with_sentinels(encode_table_column(feature, vocabularies, items))
        for feature in schema.group(Group.ITEM)
    }
    catalogue = Catalogue(item_ids=tuple(items["item_id"].to_list()), columns=columns)
    return Encoder(schema=schema, vocabularies=vocabularies, catalogue=catalogue)


def encode_table_column(
    feature: Feature, vocabularies: Mapping[str, FeatureVocabulary], table: pl.DataFrame
) -> Indices:
    """Encode the feature for every row, each distinct value once: [N] or [N, M]."""
    column = table[feature.name]
    distinct = column.to_frame("value").unique(maintain_order=True).with_row_index("code")
    codes = column.to_frame("value").join(distinct, on="value", how="left", nulls_equal=True, maintain_order="left")
    encoded = encode_column(feature, vocabularies[feature.name], distinct["value"].to_list())
    indices: Indices = encoded[codes["code"].to_numpy()]
    return indices


def item_counts(catalogue_rows: NDArray[np.int64], times: NDArray[np.int64], num_items: int) -> NDArray[np.int64]:
    """Sum `times` per item; rows of unknown items are left out."""
    counts = np.bincount(catalogue_rows, weights=times, minlength=num_items + FIRST_ROW)
    return counts[FIRST_ROW:].astype(np.int64)


def _build_feature(declared: DeclaredFeature, column: pl.Series, vocabulary: FeatureVocabulary) -> Feature:
    max_values = 1
    if declared.kind is Kind.MULTI:
        longest = column.drop_nulls().list.len().cast(pl.Int64).to_list() if isinstance(column.dtype, pl.List) else []
        max_values = max(1, min(declared.max_values, max(longest, default=1)))
    return Feature(
        name=declared.name,
        group=declared.group,
        kind=declared.kind,
        num_indices=vocabulary.num_indices,
        max_values=max_values,
    )


def _build_vocabulary(
    declared: DeclaredFeature, column: pl.Series, counts: NDArray[np.int64], min_count: int
) -> FeatureVocabulary:
    if declared.kind is Kind.NUMERIC:
        return _build_buckets(column.to_numpy().astype(np.float64)[counts > 0], counts[counts > 0])
    table = pl.DataFrame({"value": column, "count": counts})
    if isinstance(column.dtype, pl.List):
        table = table.explode("value")
    by_value = table.group_by("value").agg(pl.col("count").sum()).filter(pl.col("count") > 0)
    by_token = _count_tokens(by_value["value"].to_list(), by_value["count"].to_list())
    frequent = [text for text, count in by_token.items() if count >= min_count]
    return Vocabulary(tuple(sorted(frequent, key=lambda text: (-by_token[text], text))))


def _count_tokens(values: list[RawScalar], counts: list[int]) -> Counter[str]:
    by_token: Counter[str] = Counter()
    for value, count in zip(values, counts, strict=True):
        if (text := token(value)) is not None:
            by_token[text] += count
    return by_token


def _build_buckets(values: NDArray[np.float64], counts: NDArray[np.int64]) -> Buckets:
    """Set boundaries at the quantiles of the training rows; equal ones are merged."""
    is_number = np.isfinite(values)
    if not is_number.any():
        return Buckets(())
    quantiles = np.quantile(
        values[is_number],
        np.arange(1, NUM_BUCKETS) / NUM_BUCKETS,
        weights=counts[is_number],
        method="inverted_cdf",
    )
    return Buckets(tuple(np.unique(quantiles).tolist()))
