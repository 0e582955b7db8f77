"""The bundle's first page."""

import json
from typing import Any

import pytest

from model.bundle.errors import ChecksumMismatch, UnsupportedFormat
from model.bundle.manifest import Manifest, content_version

MANIFEST = Manifest(
    model_name="din",
    model_version="0123456789abcdef",
    files={"model.onnx": "aa", "schema.json": "bb"},
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
