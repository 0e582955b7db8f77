"""Encode raw features as arrays: the only place that does, for trainer and service alike.

Truncation is decided here: the newest behaviours and the first values of a feature are kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.catalogue import Catalogue, unknown_slots
from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.files import column_file, vocabulary_path
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import PADDING_ID, Buckets, FeatureVocabulary, RawScalar, RawValue

Indices = NDArray[np.int64]
Attributes = Mapping[str, RawValue]
T = TypeVar("T")


class UnknownFeatureError(ValueError):
    """Raw data names a feature that is not in the schema, or gives a value of the wrong shape."""


# Legend: N = items or users encoded together, M = slots of a multi-valued feature.
def encode_column(feature: Feature, vocabulary: FeatureVocabulary, values: Sequence[RawValue]) -> Indices:
    """Indices of one feature for N things: [N], or [N, M] when multi-valued.

    No value (None, or an empty list) is unknown, not padding: the item or user exists, its attribute is not known.

    Raises:
        UnknownFeatureError: a list for a feature that takes one value.
    """
    if feature.kind is Kind.MULTI:
        return _encode_slots(feature, vocabulary, values)
    return vocabulary.indices([_scalar(feature, value) for value in values])


def _scalar(feature: Feature, value: RawValue) -> RawScalar:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return value
    raise UnknownFeatureError(f"feature {feature.name} takes one value, not a list of {len(value)}")


def _encode_slots(feature: Feature, vocabulary: FeatureVocabulary, values: Sequence[RawValue]) -> Indices:
    """Look up all values together: [N, M]."""
    present = [_present(value)[: feature.max_values] for value in values]
    slots = np.tile(unknown_slots(feature.max_values), (len(values), 1))
    is_filled = np.arange(feature.max_values) < np.array([len(several) for several in present])[:, None]
    slots[is_filled] = vocabulary.indices(list(chain.from_iterable(present)))
    return slots


def _present(value: RawValue) -> list[RawScalar]:
    several: Sequence[RawScalar] = [value] if isinstance(value, str) or not isinstance(value, Sequence) else value
    return [scalar for scalar in several if scalar is not None]


@dataclass(frozen=True, slots=True)
class Encoder:
    """Turns raw values into the graph's inputs. Schema, vocabularies and catalogue must be consistent.

    Raises:
        SchemaMismatch: a feature without vocabulary, sizes that differ, or an item feature without a column.
    """

    schema: FeatureSchema
    vocabularies: Mapping[str, FeatureVocabulary]
    catalogue: Catalogue

    def __post_init__(self) -> None:
        for feature in self.schema.features:
            self._check_vocabulary(feature)
        for feature in self.schema.group(Group.ITEM):
            self._check_column(feature)

    def newest(self, behaviours: Sequence[T]) -> Sequence[T]:
        """Return the newest `max_behaviours`, oldest first: those that the model uses."""
        return behaviours[-self.schema.max_behaviours :]

    def items(
        self, item_ids: Sequence[RawScalar], attributes: Mapping[int, Attributes] | None = None
    ) -> dict[str, Indices]:
        """Encode N items: per item feature [N] or [N, M].

        Args:
            item_ids: candidates in request order, or behaviours, oldest first.
            attributes: raw attributes by position, for items not in the catalogue, or to override it in
                this request; features not named keep the catalogue's value.

        Raises:
            UnknownFeatureError: an attribute that is no item feature, the item's id, or a value of the wrong shape.
        """
        return self.items_at(self.catalogue.rows(item_ids), attributes)

    def items_at(self, rows: Indices, attributes: Mapping[int, Attributes] | None = None) -> dict[str, Indices]:
        """Encode the items in N rows of the catalogue; see `items`."""
        encoded = self.catalogue.features(rows)
        for name, by_position in _by_feature(attributes or {}).items():
            feature = self._overridable(name)
            column = encode_column(feature, self.vocabularies[name], list(by_position.values()))
            encoded[name][list(by_position)] = column
        return encoded

    def users(self, profile: Attributes) -> dict[str, Indices]:
        """Encode one user's features: per feature [1] or [1, M]; features that `profile` lacks are unknown.

        Names that the schema lacks are ignored: a profile may hold more than this model uses.
        """
        return {
            feature.name: self._encode_one(feature, profile.get(feature.name))
            for feature in self.schema.group(Group.USER)
        }

    def context(self, context: Attributes) -> dict[str, Indices]:
        """Encode a request's context: per feature [1] or [1, M]; features that it lacks are unknown.

        Raises:
            UnknownFeatureError: a name that is no context feature.
        """
        features = self.schema.group(Group.CONTEXT)
        _refuse_unknown(context, features, Group.CONTEXT)
        return {feature.name: self._encode_one(feature, context.get(feature.name)) for feature in features}

    def _encode_one(self, feature: Feature, value: RawValue) -> Indices:
        return encode_column(feature, self.vocabularies[feature.name], [value])

    def _overridable(self, name: str) -> Feature:
        features = [feature for feature in self.schema.group(Group.ITEM) if feature.name != ITEM_ID]
        _refuse_unknown([name], features, Group.ITEM)
        return next(feature for feature in features if feature.name == name)

    def _check_vocabulary(self, feature: Feature) -> None:
        vocabulary = self.vocabularies.get(feature.name)
        path = vocabulary_path(feature.name)
        if vocabulary is None:
            raise SchemaMismatch(path, expected="a vocabulary", found="none")
        if isinstance(vocabulary, Buckets) is not (feature.kind is Kind.NUMERIC):
            raise SchemaMismatch(
                path, expected=f"what a {feature.kind} feature needs", found=f"{type(vocabulary).__name__}"
            )
        if vocabulary.num_indices != feature.num_indices:
            raise SchemaMismatch(
                path,
                expected=f"{feature.num_indices} indices as in schema.json",
                found=f"{vocabulary.num_indices}",
            )

    def _check_column(self, feature: Feature) -> None:
        column = self.catalogue.columns.get(feature.name)
        file = column_file(feature.name)
        if column is None:
            raise SchemaMismatch(file, expected="a column for the item feature", found="none")
        expected = (self.catalogue.num_rows,) + ((feature.max_values,) if feature.kind is Kind.MULTI else ())
        if column.shape != expected or column.dtype != np.int32:
            raise SchemaMismatch(file, expected=f"int32 {expected}", found=f"{column.dtype} {column.shape}")
        if column.min() < PADDING_ID or column.max() >= feature.num_indices:
            raise SchemaMismatch(
                file,
                expected=f"indices from 0 to {feature.num_indices - 1}",
                found=f"from {column.min()} to {column.max()}",
            )


def _by_feature(attributes: Mapping[int, Attributes]) -> dict[str, dict[int, RawValue]]:
    by_feature: dict[str, dict[int, RawValue]] = {}
    for position, values in attributes.items():
        for name, value in values.items():
            by_feature.setdefault(name, {})[position] = value
    return by_feature


def _refuse_unknown(names: Iterable[str], features: Sequence[Feature], group: Group) -> None:
    known = [feature.name for feature in features]
    for name in names:
        if name not in known:
            options = ", ".join(known) or "none"
            raise UnknownFeatureError(f"{name!r} is no {group} feature of this model; it has: {options}")
