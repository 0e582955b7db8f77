"""Open a bundle: verify every byte, then load; all or nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.activations import COLUMNS_FILE, LINES_FILE, TABLE_FILES, WEIGHTS_FILE, ActivationTable
from dinrank.model.bundle.catalogue import FIRST_ROW, UNKNOWN_ROW, Catalogue
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.errors import BundleError, ChecksumMismatch, MissingFile, SchemaMismatch, UnsupportedFormat
from dinrank.model.bundle.files import (
    GOLDEN_FILE,
    GRAPH_FILE,
    ITEM_IDS,
    SCHEMA_FILE,
    SIGNATURE_FILE,
    buckets_file,
    column_file,
    index_files,
    sha256,
    vocabulary_path,
)
from dinrank.model.bundle.golden import GoldenAnswer
from dinrank.model.bundle.manifest import MANIFEST_FILE, Manifest
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.stages import STAGES, stage_file
from dinrank.model.bundle.titles import TEXT_FILE, TITLE_FILES, Titles
from dinrank.model.bundle.token_index import BrokenIndex, TokenIndex
from dinrank.model.bundle.vocabulary import Buckets, FeatureVocabulary, Vocabulary

_HASHING_THREADS = 4
_LONGEST_FOUND = 300  # characters of an error's message: it may repeat what the file holds
_LONGEST_SIGNATURE = 1_024  # bytes; one of Ed25519 has 64


class Signatures(Protocol):
    """Decides which signers are trusted. Implemented by `service/lineup/signatures.py`: no cryptography here."""

    def check(self, manifest: bytes, signature: bytes | None) -> None:
        """Check the bytes of `manifest.json` against those of `manifest.sig`, None if there is no such file.

        Raises:
             SignatureMismatch: these bytes have no signature by a trusted key.
        """


@dataclass(frozen=True, slots=True)
class Bundle:
    """A verified bundle without its graphs: the service runs those.

    Attributes:
        has_stages: whether the graph is also there in stages, see `dinrank.model.bundle.stages`.
        table: looked up instead of computed; only with stages.
        titles: titles of the catalogue's items; None when the data set had none.
    """

    path: Path
    manifest: Manifest
    encoder: Encoder
    golden: tuple[GoldenAnswer, ...]
    has_stages: bool = False
    table: ActivationTable | None = None
    titles: Titles | None = None

    @property
    def schema(self) -> FeatureSchema:
        return self.encoder.schema

    def title_of(self, item_id: str) -> str:
        """Return an item's title; empty if it has none or is not in the catalogue."""
        row = UNKNOWN_ROW if self.titles is None else self.encoder.catalogue.row(item_id)
        return "" if self.titles is None or row == UNKNOWN_ROW else self.titles[row - FIRST_ROW]

    @property
    def graph_path(self) -> Path:
        return self.path / GRAPH_FILE


def open_bundle(path: Path, *, signatures: Signatures | None = None) -> Bundle:
    """Verify and load the bundle in `path`; vocabularies, item ids and the catalogue's columns stay memory-mapped;
    small vocabularies also get a dictionary.

    Args:
        signatures: checks the manifest's bytes before anything is parsed; the manifest has the checksum of every
            other file. None trusts every bundle.

    Raises:
        BundleError: a missing, changed or additional file, one that cannot be read, an unknown format, or parts that
            contradict each other. No other error is raised: a bundle is untrusted input, and any fault is a refusal.
    """
    manifest, _ = read_manifest(path, signatures)
    verify_files(path, manifest)
    return _open(path, manifest)


def read_manifest(path: Path, signatures: Signatures | None = None) -> tuple[Manifest, bytes]:
    """Read the manifest of the bundle in `path`, and nothing else of it.

    Args:
        signatures: see `open_bundle`.

    Returns:
        The manifest, and the bytes that it was parsed from.

    Raises:
        BundleError
    """
    with _refusing(MANIFEST_FILE):
        content = _read(path / MANIFEST_FILE)
        if signatures is not None:
            signatures.check(content, read_signature(path))
        return Manifest.from_json(_parse_json(content, MANIFEST_FILE)), content


def read_signature(path: Path) -> bytes | None:
    """Read the signature of the bundle in `path`: None for no file; invalid bytes for anything but a signature file."""
    if not (path / SIGNATURE_FILE).is_file():
        return None
    with (path / SIGNATURE_FILE).open("rb") as file:
        return file.read(_LONGEST_SIGNATURE)


def verify_files(path: Path, manifest: Manifest) -> None:
    """Compare every file of a bundle with its checksum.

    Raises:
        BundleError: a file is missing, changed or not listed.
    """
    files = listed_files(path, manifest)
    # hashlib releases the interpreter's lock; the largest files go first, as one may be most of the bundle.
    with _refusing(str(path)), ThreadPoolExecutor(_HASHING_THREADS) as executor:
        by_size = sorted(files, key=lambda name: files[name].stat().st_size, reverse=True)
        for name, found in zip(by_size, executor.map(lambda name: sha256(files[name]), by_size), strict=True):
            if found != manifest.files[name]:
                raise ChecksumMismatch(name, expected=f"sha256 {manifest.files[name]}", found=found)


def listed_files(path: Path, manifest: Manifest) -> dict[str, Path]:
    """Find every file of a bundle, by name; the manifest and its signature excepted.

    Unlisted files are refused: a graph can name any file beside it as external data, and ONNX Runtime would read it.

    Raises:
        BundleError: a file is missing or not listed, or leads out of the bundle.
    """
    files = {name: path / name for name in manifest.files}
    with _refusing(str(path)):
        _listed(files, GRAPH_FILE)
        for file in sorted(path.rglob("*")):
            name = file.relative_to(path).as_posix()
            if name not in (MANIFEST_FILE, SIGNATURE_FILE) and not file.is_dir():
                _listed(files, name)
        for name, file in files.items():
            if not file.resolve().is_relative_to(path.resolve()):
                raise SchemaMismatch(MANIFEST_FILE, expected="paths inside the bundle", found=name)
            if not file.is_file():
                raise MissingFile(name, expected=f"a file with sha256 {manifest.files[name]}", found="no file")
    return files


def open_verified(path: Path) -> Bundle:
    """Load a bundle whose checksums were verified and that nobody else can have changed since.

    Raises:
        BundleError
    """
    manifest, _ = read_manifest(path)
    return _open(path, manifest)


def _open(path: Path, manifest: Manifest) -> Bundle:
    files = {name: path / name for name in manifest.files}
    with _refusing(SCHEMA_FILE):
        schema = FeatureSchema.from_json(_read_json(_listed(files, SCHEMA_FILE)))
        vocabularies = {feature.name: _read_vocabulary(files, feature) for feature in schema.features}
    with _refusing(GOLDEN_FILE):
        golden = tuple(
            GoldenAnswer.from_json(answer, number=number)
            for number, answer in enumerate(_read_json(_listed(files, GOLDEN_FILE)))
        )
        if not golden:
            raise SchemaMismatch(GOLDEN_FILE, expected="at least one request with its answers", found="none")
    with _refusing(ITEM_IDS):
        encoder = Encoder(schema=schema, vocabularies=vocabularies, catalogue=_read_catalogue(files, schema))
    has_stages = _has_all(manifest, [stage_file(stage) for stage in STAGES])
    with _refusing(WEIGHTS_FILE):
        table = _read_table(files, encoder.catalogue) if _has_all(manifest, TABLE_FILES) else None
    if table is not None and not has_stages:
        raise MissingFile(MANIFEST_FILE, expected="stages, as there is an activation table", found="none")
    with _refusing(TEXT_FILE):
        titles = _read_titles(files, encoder.catalogue) if _has_all(manifest, TITLE_FILES) else None
    return Bundle(path, manifest, encoder, golden, has_stages, table, titles)


@contextmanager
def _refusing(file: str) -> Iterator[None]:
    """Turn any error in the block into a refusal of the bundle: its parts are untrusted input.

    Args:
        file: to be named when the error itself does not name one.

    Raises:
        BundleError
    """
    try:
        yield
    except BundleError:
        raise
    except OSError as exc:
        found = exc.strerror or repr(exc)
        raise MissingFile(str(exc.filename or file), expected="a file that can be read", found=found) from exc
    except Exception as exc:  # any exception: the ways in which an untrusted file can be wrong are endless
        raise UnsupportedFormat(file, expected="a file that this service reads", found=_shortened(exc)) from exc


def _shortened(exc: Exception) -> str:
    text = " ".join(f"{type(exc).__name__}: {exc}".split())
    return text if len(text) <= _LONGEST_FOUND else f"{text[:_LONGEST_FOUND]}..."


def _has_all(manifest: Manifest, files: Sequence[str]) -> bool:
    """Return whether the bundle has these files, which belong together."""
    missing = [file for file in files if file not in manifest.files]
    if missing and len(missing) < len(files):
        raise MissingFile(MANIFEST_FILE, expected=f"an entry for {missing[0]}, as for its fellows", found="none")
    return not missing


def _read_table(files: Mapping[str, Path], catalogue: Catalogue) -> ActivationTable:
    weights_AB, line_R, column_R = (_read_array(files, name) for name in (WEIGHTS_FILE, LINES_FILE, COLUMNS_FILE))
    for name, places_R in ((LINES_FILE, line_R), (COLUMNS_FILE, column_R)):
        if places_R.shape != (catalogue.num_rows,) or places_R.dtype != np.int32:
            raise SchemaMismatch(
                name, expected=f"int32 ({catalogue.num_rows},)", found=f"{places_R.dtype} {places_R.shape}"
            )
    try:
        return ActivationTable(weights_AB, line_R, column_R)
    except ValueError as exc:
        raise SchemaMismatch(WEIGHTS_FILE, expected="weights with a line and a column each", found=str(exc)) from exc


def _read_titles(files: Mapping[str, Path], catalogue: Catalogue) -> Titles:
    try:
        titles = Titles.from_arrays([_read_array(files, name) for name in TITLE_FILES])
    except ValueError as exc:
        raise SchemaMismatch(TEXT_FILE, expected="a line per title", found=str(exc)) from exc
    if len(titles) != len(catalogue.item_ids):
        raise SchemaMismatch(TEXT_FILE, expected=f"{len(catalogue.item_ids)} titles", found=str(len(titles)))
    return titles


def _listed(files: Mapping[str, Path], name: str) -> Path:
    if name not in files:
        raise MissingFile(MANIFEST_FILE, expected=f"an entry for {name}", found="none")
    return files[name]


def _read_vocabulary(files: Mapping[str, Path], feature: Feature) -> FeatureVocabulary:
    if feature.kind is Kind.NUMERIC:
        name = buckets_file(feature.name)
        with _refusing(name):
            return Buckets.from_json(_read_json(_listed(files, name)), file=name)
    directory = vocabulary_path(feature.name)
    with _refusing(directory):
        try:
            return Vocabulary(_read_index(files, directory))
        except UnicodeDecodeError as exc:
            raise SchemaMismatch(index_files(directory)["words"], expected="tokens in UTF-8", found=str(exc)) from exc


def _read_catalogue(files: Mapping[str, Path], schema: FeatureSchema) -> Catalogue:
    columns = {feature.name: _read_array(files, column_file(feature.name)) for feature in schema.group(Group.ITEM)}
    try:
        return Catalogue(item_ids=_read_index(files, ITEM_IDS), columns=columns)
    except ValueError as exc:
        raise SchemaMismatch(ITEM_IDS, expected="one item id per row", found=str(exc)) from exc


def _read_index(files: Mapping[str, Path], directory: str) -> TokenIndex:
    names = index_files(directory)
    try:
        return TokenIndex.from_arrays({array: _read_array(files, name) for array, name in names.items()})
    except BrokenIndex as exc:
        raise SchemaMismatch(names[exc.array], expected=exc.expected, found=exc.found) from exc


def _read_array(files: Mapping[str, Path], name: str) -> NDArray[Any]:
    with _refusing(name):
        try:
            mapped = np.lib.format.open_memmap(_listed(files, name), mode="r")
        except (OSError, ValueError) as exc:
            raise UnsupportedFormat(name, expected="a .npy array", found=str(exc)) from exc
        return np.asarray(mapped)  # the same memory without the subclass, whose indexing is slower


def _read_json(path: Path) -> Any:
    return _parse_json(_read(path), path.name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as exc:
        raise MissingFile(str(path), expected="a file", found="no file") from exc


def _parse_json(content: bytes, name: str) -> Any:
    try:
        return json.loads(content.decode("utf-8"))
    except ValueError as exc:
        raise UnsupportedFormat(name, expected="JSON in UTF-8", found=_shortened(exc)) from exc
