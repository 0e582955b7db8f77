"""`schema.toml`: the declaration of a dataset directory."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import FIRST_ID
from dinrank.training.errors import DatasetError

MAX_VALUES = 16  # slots of a multi-valued feature, unless the data needs fewer or schema.toml says otherwise
_DATASET_KEYS = {"name", "source", "negative_sampling_rate"}


@dataclass(frozen=True, slots=True)
class DeclaredFeature:
    """A feature as `schema.toml` names it; its vocabulary comes from the training rows."""

    name: str
    group: Group
    kind: Kind = Kind.SINGLE
    max_values: int = MAX_VALUES


@dataclass(frozen=True, slots=True)
class Declaration:
    """Attributes:
    name, source: of the data set; empty when not given.
    max_behaviours: the newest behaviours, up to this many, are used.
    negative_sampling_rate: the share of the not-clicked impressions that the data set kept; all clicked ones are kept.
    """

    name: str
    source: str
    features: tuple[DeclaredFeature, ...]
    max_behaviours: int
    negative_sampling_rate: float


def read_declaration(file: Path) -> Declaration:
    """Raises: DatasetError, naming the section, the feature or the value that cannot be used."""
    document = _read_toml(file)
    max_length = document["behaviours"].get("max_length")
    if type(max_length) is not int or max_length < 1:
        raise DatasetError(file, expected="a positive max_length in [behaviours]", found=repr(max_length))
    if not isinstance(document["features"], list):
        raise DatasetError(file, expected="a section [[features]] per feature", found="one section [features]")
    features = tuple(_declared(file, entry) for entry in document["features"])
    _check_together(file, features, max_length)
    return Declaration(
        name=str(document["dataset"].get("name", "")),
        source=str(document["dataset"].get("source", "")),
        features=features,
        max_behaviours=max_length,
        negative_sampling_rate=_negative_sampling_rate(file, document["dataset"]),
    )


def _negative_sampling_rate(file: Path, section: Mapping[str, Any]) -> float:
    rate = section.get("negative_sampling_rate", 1.0)
    if type(rate) not in (int, float) or not 0.0 < rate <= 1.0:
        raise DatasetError(
            file, expected="a negative_sampling_rate above 0 and at most 1 in [dataset]", found=repr(rate)
        )
    return float(rate)


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as exc:
        advice = "name what `python -m training prepare` wrote; `prepare logs` makes a dataset of CSV or Parquet files"
        raise DatasetError(file, expected="a dataset's schema.toml", found="no file", advice=advice) from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise DatasetError(file, expected="TOML", found=str(exc)) from exc
    for section in ("dataset", "behaviours", "features"):
        if section not in document:
            raise DatasetError(file, expected=f"a section [{section}]", found=", ".join(document) or "none")
    if unknown := set(document["dataset"]) - _DATASET_KEYS:  # a misspelt rate would silently be 1
        found = ", ".join(sorted(unknown))
        raise DatasetError(file, expected=f"in [dataset] only {', '.join(sorted(_DATASET_KEYS))}", found=found)
    return document


def _declared(file: Path, entry: Mapping[str, Any]) -> DeclaredFeature:
    if set(entry) - {"name", "group", "kind", "max_values"} or not {"name", "group"} <= set(entry):
        raise DatasetError(file, expected="a feature with name, group, kind and max_values", found=str(dict(entry)))
    try:
        return DeclaredFeature(
            name=entry["name"],
            group=Group(entry["group"]),
            kind=Kind(entry.get("kind", "single")),
            max_values=int(entry.get("max_values", MAX_VALUES)),
        )
    except ValueError as exc:
        raise DatasetError(file, expected=f"a known group and kind of {entry['name']!r}", found=str(exc)) from exc


def _check_together(file: Path, features: Sequence[DeclaredFeature], max_behaviours: int) -> None:
    """Check the feature schema before anything is read: unique names, an item feature, a valid item_id."""
    try:
        FeatureSchema(
            features=tuple(Feature(feature.name, feature.group, feature.kind, FIRST_ID) for feature in features),
            max_behaviours=max_behaviours,
        )
    except (TypeError, ValueError) as exc:
        raise DatasetError(file, expected="features that fit together", found=str(exc)) from exc
