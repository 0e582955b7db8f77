"""The bundle's first page."""

import json
from dataclasses import replace
from typing import Any

import pytest

from dinrank.model.bundle.errors import ChecksumMismatch, UnsupportedFormat
from dinrank.model.bundle.manifest import Manifest, content_version

FILES = {"model.onnx": "aa" * 32, "vocabulary/genre.json": "bb" * 32}
MANIFEST = Manifest(
    model_name="din",
    model_version=content_version("din", FILES),
    files=FILES,
    training={"seed": 1, "learning_rate": 1e-3},
    metrics={"valid": {"gauc": 0.7123456789}},
    calibration={"method": "none"},
)


def document() -> Any:
    return json.loads(json.dumps(MANIFEST.to_json()))


def test_a_manifest_survives_json() -> None:
    assert Manifest.from_json(document()) == MANIFEST


@pytest.mark.parametrize("field", ["model_name", "model_version", "files", "training", "metrics", "calibration"])
def test_a_changed_field_is_refused(field: str) -> None:
    changed = document() | {field: "something else"}
    with pytest.raises(ChecksumMismatch, match=r"manifest.json: expected checksum"):
        Manifest.from_json(changed)


def test_a_version_that_is_not_the_hash_of_the_content_is_refused() -> None:
    pretending = replace(MANIFEST, model_version="0123456789abcdef").to_json()
    with pytest.raises(ChecksumMismatch, match=f"expected model_version {MANIFEST.model_version}, .*found 0123"):
        Manifest.from_json(pretending)


@pytest.mark.parametrize("found", [None, 0, [], "", True])
@pytest.mark.parametrize("field", ["model_name", "model_version", "files", "training", "metrics", "calibration"])
def test_a_field_of_another_type_is_refused(field: str, found: Any) -> None:
    with pytest.raises((UnsupportedFormat, ChecksumMismatch), match=rf"^manifest.json: expected {field}"):
        Manifest.from_json(replace(MANIFEST, **{field: found}).to_json())


@pytest.mark.parametrize(
    "path", ["", ".", "..", "../a", "a/../../b", "/a", "a//b", "./a", "a/", "a\\b", "a\0b", "a\nb"]
)
def test_a_path_that_is_not_plainly_inside_the_bundle_is_refused(path: str) -> None:
    with pytest.raises(UnsupportedFormat, match="expected paths inside the bundle"):
        Manifest.from_json(with_files({**FILES, path: "cc" * 32}).to_json())


@pytest.mark.parametrize("checksum", ["", "aa", "AA" * 32, "gg" * 32, None, 1, ["aa" * 32]])
def test_what_is_no_checksum_is_refused(checksum: Any) -> None:
    with pytest.raises(UnsupportedFormat, match=r"expected the sha256 of model\.onnx"):
        Manifest.from_json(with_files({"model.onnx": checksum}).to_json())


def with_files(files: Any) -> Manifest:
    return replace(MANIFEST, files=files, model_version=content_version("din", files))


def test_a_manifest_without_checksum_is_refused() -> None:
    changed = document()
    del changed["checksum"]
    with pytest.raises(ChecksumMismatch, match="found None"):
        Manifest.from_json(changed)


@pytest.mark.parametrize("found", [None, [], "text", {}, {"model_name": "din"}])
def test_what_is_no_manifest_is_refused(found: Any) -> None:
    with pytest.raises(UnsupportedFormat, match="a manifest with a format_version"):
        Manifest.from_json(found)


def test_another_format_version_is_refused_before_anything_else() -> None:
    with pytest.raises(UnsupportedFormat, match="expected format version 2, found 1"):
        Manifest.from_json({"format_version": 1, "unheard of": True})


def test_equal_files_have_equal_versions_in_any_order() -> None:
    version = content_version("din", {"a": "1", "b": "2"})
    assert content_version("din", {"b": "2", "a": "1"}) == version
    assert content_version("dien", {"a": "1", "b": "2"}) != version
    assert content_version("din", {"a": "1", "b": "3"}) != version
    assert len(version) == 16
