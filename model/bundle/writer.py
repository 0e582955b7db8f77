"""Write a bundle atomically; an existing one is never changed."""

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.files import (
    GOLDEN_FILE,
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
from dinrank.model.bundle.manifest import MANIFEST_FILE, Manifest, content_version
from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.staging import staged_directory
from dinrank.model.bundle.titles import Titles
from dinrank.model.bundle.token_index import TokenIndex
from dinrank.model.bundle.vocabulary import Buckets

Sign = Callable[[bytes], bytes]  # from the bytes of a manifest to those of its signature


def write_bundle(
    out: Path,
    *,
    model_name: str,
    encoder: Encoder,
    graph_files: Sequence[Path],
    golden: Sequence[GoldenAnswer],
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    calibration: Mapping[str, Any],
    more_files: Mapping[str, Path] | None = None,
    titles: Titles | None = None,
    sign: Sign | None = None,
) -> Manifest:
    """Write a bundle to `out`, which appears in one rename when everything is on disk.

    Args:
        graph_files: `model.onnx`, its external data and stages, copied under their own names.
        more_files: the activation table's, by their names in the bundle.
        titles: of the catalogue's items, where the data set has any.
        sign: signs the manifest; None for an unsigned bundle.

    Raises:
        FileExistsError: `out` exists; a bundle is written once.
    """
    with _new_directory(out) as directory:
        _write_json(directory / SCHEMA_FILE, encoder.schema.to_json())
        for name, vocabulary in encoder.vocabularies.items():
            if isinstance(vocabulary, Buckets):
                _write_json(directory / buckets_file(name), vocabulary.to_json())
            else:
                _write_index(directory, vocabulary_path(name), vocabulary.tokens)
        _write_index(directory, ITEM_IDS, encoder.catalogue.item_ids)
        for name, column in encoder.catalogue.columns.items():
            _write_array(directory / column_file(name), column)
        for source in graph_files:
            shutil.copyfile(source, directory / source.name)
        _write_json(directory / GOLDEN_FILE, [answer.to_json() for answer in golden])
        _copy(more_files or {}, directory)
        for file, array in (titles.arrays() if titles else {}).items():
            _write_array(directory / file, array)
        files = {str(path.relative_to(directory)): sha256(path) for path in _files(directory)}
        manifest = Manifest(
            model_name=model_name,
            model_version=content_version(model_name, files),
            files=files,
            training=training,
            metrics=metrics,
            calibration=calibration,
        )
        _write_manifest(directory, manifest, sign)
    return manifest


def extend_bundle(bundle: Bundle, out: Path, more_files: Mapping[str, Path], *, sign: Sign | None = None) -> Manifest:
    """Write a copy of `bundle` without its signature, plus `more_files` by their names in it.

    Raises:
        FileExistsError: `out` exists.
    """
    with _new_directory(out) as directory:
        _copy({name: bundle.path / name for name in bundle.manifest.files}, directory)
        _copy(more_files, directory)
        files = {**bundle.manifest.files, **{name: sha256(directory / name) for name in more_files}}
        name = bundle.manifest.model_name
        manifest = dataclasses.replace(bundle.manifest, files=files, model_version=content_version(name, files))
        _write_manifest(directory, manifest, sign)
    return manifest


def _copy(files: Mapping[str, Path], directory: Path) -> None:
    for name, source in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, directory / name)


def _write_manifest(directory: Path, manifest: Manifest, sign: Sign | None) -> None:
    """Write the manifest last, as it lists all other files."""
    _write_json(directory / MANIFEST_FILE, manifest.to_json())
    if sign is not None:
        (directory / SIGNATURE_FILE).write_bytes(sign((directory / MANIFEST_FILE).read_bytes()))


@contextmanager
def _new_directory(out: Path) -> Iterator[Path]:
    """A directory beside `out` that becomes `out` when the block succeeds and vanishes when it fails."""
    if out.exists():
        raise FileExistsError(f"{out} exists; a bundle is never overwritten: choose another name or remove it first")
    with staged_directory(out) as directory:
        yield directory
        directory.chmod(0o755)  # a narrow umask would keep another user's service out


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _write_json(path: Path, document: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _write_index(bundle: Path, directory: str, index: TokenIndex) -> None:
    arrays = index.arrays()
    for array, file in index_files(directory).items():
        _write_array(bundle / file, arrays[array])


def _write_array(path: Path, array: np.ndarray[Any, np.dtype[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array, allow_pickle=False)
