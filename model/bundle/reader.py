"""Open a bundle: verify every byte, then load; all or nothing."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model.bundle.activations import COLUMNS_FILE, LINES_FILE, TABLE_FILES, WEIGHTS_FILE, ActivationTable
from model.bundle.catalogue import Catalogue
from model.bundle.encoding import Encoder
from model.bundle.errors import ChecksumMismatch, MissingFile, SchemaMismatch, UnsupportedFormat
from model.bundle.files import (
    GOLDEN_FILE,
    GRAPH_FILE,
    ITEM_IDS_FILE,
    SCHEMA_FILE,
    column_file,
    sha256,
    vocabulary_file,
)
from model.bundle.golden import GoldenAnswer
from model.bundle.manifest import MANIFEST_FILE, Manifest
from model.bundle.schema import FeatureSchema, Group
from model.bundle.stages import STAGES, stage_file
from model.bundle.vocabulary import vocabulary_from_json


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle, its graphs excepted: running those is the service's part.

    Attributes:
        has_stages: whether the graph comes cut into stages too, see `model.bundle.stages`.
        table: looked up instead of computed; only with stages.
    """

    path: Path
    manifest: Manifest
    encoder: Encoder
    golden: tuple[GoldenAnswer, ...]
    has_stages: bool
    table: ActivationTable | None

    @property
    def schema(self) -> FeatureSchema:
        return self.encoder.schema

    @property
    def graph_path(self) -> Path:
        return self.path / GRAPH_FILE


def open_bundle(path: Path) -> Bundle:
    """Verify and load the bundle in `path`; the catalogue's columns stay memory-mapped.

    Raises:
        BundleError: a missing or changed file, an unknown format, or parts that contradict each other.
    """
    manifest = Manifest.from_json(_read_json(path / MANIFEST_FILE))
    _verify_files(path, manifest)
    schema = FeatureSchema.from_json(_read_json(path / SCHEMA_FILE))
    vocabularies = {
        feature.name: vocabulary_from_json(
            _read_json(path / vocabulary_file(feature.name)), file=vocabulary_file(feature.name)
        )
        for feature in schema.features
    }
    golden = tuple(GoldenAnswer.from_json(answer) for answer in _read_json(path / GOLDEN_FILE))
    if not golden:
        raise SchemaMismatch(GOLDEN_FILE, expected="at least one request with its answers", found="none")
    encoder = Encoder(schema=schema, vocabularies=vocabularies, catalogue=_read_catalogue(path, schema))
    has_stages = _has_all(manifest, [stage_file(stage) for stage in STAGES])
    table = _read_table(path, encoder.catalogue) if _has_all(manifest, TABLE_FILES) else None
    if table is not None and not has_stages:
        raise MissingFile(MANIFEST_FILE, expected="stages, as there is an activation table", found="none")
    return Bundle(path, manifest, encoder, golden, has_stages, table)


def _has_all(manifest: Manifest, files: Sequence[str]) -> bool:
    """Whether the bundle has these files, which belong together."""
    missing = [file for file in files if file not in manifest.files]
    if missing and len(missing) < len(files):
        raise MissingFile(MANIFEST_FILE, expected=f"an entry for {missing[0]}, as for its fellows", found="none")
    return not missing


def _read_table(path: Path, catalogue: Catalogue) -> ActivationTable:
    weights_AB, line_R, column_R = (_read_array(path, name) for name in (WEIGHTS_FILE, LINES_FILE, COLUMNS_FILE))
    for name, places_R in ((LINES_FILE, line_R), (COLUMNS_FILE, column_R)):
        if places_R.shape != (catalogue.num_rows,) or places_R.dtype != np.int32:
            raise SchemaMismatch(
                name, expected=f"int32 ({catalogue.num_rows},)", found=f"{places_R.dtype} {places_R.shape}"
            )
    try:
        return ActivationTable(weights_AB, line_R, column_R)
    except ValueError as exc:
        raise SchemaMismatch(WEIGHTS_FILE, expected="weights with a line and a column each", found=str(exc)) from exc


def _verify_files(path: Path, manifest: Manifest) -> None:
    for required in (SCHEMA_FILE, GRAPH_FILE, GOLDEN_FILE, ITEM_IDS_FILE):
        if required not in manifest.files:
            raise MissingFile(MANIFEST_FILE, expected=f"an entry for {required}", found="none")
    for name, expected in manifest.files.items():
        file = path / name
        if not file.resolve().is_relative_to(path.resolve()):
            raise SchemaMismatch(MANIFEST_FILE, expected="paths inside the bundle", found=name)
        if not file.is_file():
            raise MissingFile(name, expected=f"a file with sha256 {expected}", found="no file")
        found = sha256(file)
        if found != expected:
            raise ChecksumMismatch(name, expected=f"sha256 {expected}", found=found)


def _read_catalogue(path: Path, schema: FeatureSchema) -> Catalogue:
    columns = {feature.name: _read_array(path, column_file(feature.name)) for feature in schema.group(Group.ITEM)}
    try:
        return Catalogue(item_ids=tuple(_read_json(path / ITEM_IDS_FILE)), columns=columns)
    except (TypeError, ValueError) as exc:
        raise SchemaMismatch(ITEM_IDS_FILE, expected="distinct item ids, one per row", found=str(exc)) from exc


def _read_array(path: Path, name: str) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(path / name, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as exc:
        raise UnsupportedFormat(name, expected="a .npy array", found=str(exc)) from exc
    return array


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        raise MissingFile(str(path), expected="a file", found="no file") from exc
    except ValueError as exc:
        raise UnsupportedFormat(path.name, expected="JSON in UTF-8", found=str(exc)) from exc
