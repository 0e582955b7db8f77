"""A model's feature schema: features, groups, kinds, and the maximum number of behaviours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from dinrank.model.bundle.errors import SchemaMismatch

ITEM_ID = "item_id"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def is_feature_name(name: str) -> bool:
    """Accept letters, digits and underscores, 64 at most, no digit first."""
    return _NAME.fullmatch(name) is not None


class Group(StrEnum):
    """Subject of a feature. Candidates and behaviours are both items and share the item features."""

    ITEM = "item"
    USER = "user"
    CONTEXT = "context"


class Kind(StrEnum):
    """Encoding of a raw value as indices."""

    SINGLE = "single"  # one token, one index
    MULTI = "multi"  # several tokens; their embeddings are averaged
    NUMERIC = "numeric"  # a number, cut into buckets at quantiles of the training set


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature.

    Attributes:
        num_indices: size of its embedding table, padding and unknown included.
        max_values: slots of a multi-valued feature, more values are cut off; 1 for the other kinds.
    """

    name: str
    group: Group
    kind: Kind
    num_indices: int
    max_values: int = 1

    def __post_init__(self) -> None:
        if not is_feature_name(self.name):
            raise ValueError(f"feature name {self.name!r} must be letters, digits and underscores, 64 at most")
        if self.name == ITEM_ID and (self.group, self.kind) != (Group.ITEM, Kind.SINGLE):
            raise ValueError(f"{ITEM_ID} must be a single-valued item feature, not {self.group} {self.kind}")
        if self.max_values < 1 or (self.kind is not Kind.MULTI and self.max_values != 1):
            raise ValueError(f"feature {self.name}: a {self.kind} feature cannot have {self.max_values} values")


@dataclass(frozen=True, slots=True)
class FeatureSchema:
    """All features of a model, in the order in which the network concatenates them.

    Attributes:
        max_behaviours: the newest behaviours, up to this many, are used; older ones are cut off.
    """

    features: tuple[Feature, ...]
    max_behaviours: int
    _groups: Mapping[Group, tuple[Feature, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        groups = {group: tuple(feature for feature in self.features if feature.group is group) for group in Group}
        object.__setattr__(self, "_groups", groups)
        names = [feature.name for feature in self.features]
        duplicates = {name for name in names if names.count(name) > 1}
        if duplicates:
            raise ValueError(f"features are named twice: {', '.join(sorted(duplicates))}")
        if not self.group(Group.ITEM):
            raise ValueError("a schema needs at least one item feature, for instance item_id")
        if self.max_behaviours < 1:
            raise ValueError(f"max_behaviours must be positive, not {self.max_behaviours}")

    def group(self, group: Group) -> tuple[Feature, ...]:
        """The features of one group, in schema order."""
        return self._groups[group]

    def to_json(self) -> dict[str, Any]:
        return {
            "max_behaviours": self.max_behaviours,
            "features": [
                {
                    "name": feature.name,
                    "group": feature.group.value,
                    "kind": feature.kind.value,
                    "num_indices": feature.num_indices,
                    "max_values": feature.max_values,
                }
                for feature in self.features
            ],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """Raises: SchemaMismatch, when `document` is not what `to_json` writes."""
        try:
            features = tuple(
                Feature(
                    name=entry["name"],
                    group=Group(entry["group"]),
                    kind=Kind(entry["kind"]),
                    num_indices=int(entry["num_indices"]),
                    max_values=int(entry["max_values"]),
                )
                for entry in document["features"]
            )
            return cls(features=features, max_behaviours=int(document["max_behaviours"]))
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaMismatch("schema.json", expected="a feature schema", found=str(exc)) from exc
