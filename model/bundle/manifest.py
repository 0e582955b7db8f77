"""The bundle's manifest: its contents, its origin, and the checksum of every file."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Self

from dinrank.model.bundle.errors import ChecksumMismatch, UnsupportedFormat

FORMAT_VERSION = 2
MANIFEST_FILE = "manifest.json"
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Manifest:
    """Contents of `manifest.json`.

    Attributes:
        model_name: the network, `din` for instance.
        model_version: hash of the bundle's files: equal files give equal versions, whenever they were written.
        files: sha256 by path relative to the bundle, the manifest itself excepted.
        training: data set, source commit, seed, config and the library versions behind the bundle.
        metrics: offline metrics by split, of calibrated CTRs and the rows as they are, down-sampled or not.
        calibration: how logits became CTRs: `method` (`none` when they are the network's own) with its parameters, and
            `negative_sampling_rate`. The graph computes all of it; this is its description.
    """

    model_name: str
    model_version: str
    files: Mapping[str, str]
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]
    calibration: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The document with its own checksum, so that a flipped byte in the manifest is detected too."""
        content = {"format_version": FORMAT_VERSION, **asdict(self)}
        return {**content, "checksum": _checksum(content)}

    @classmethod
    def from_json(cls, document: Any) -> Self:
        """Read what `to_json` writes.

        Raises:
            UnsupportedFormat: another format version, or not a manifest.
            ChecksumMismatch: the manifest was changed, or its version is not the hash of what it lists.
        """
        if not isinstance(document, dict) or "format_version" not in document:
            raise UnsupportedFormat(MANIFEST_FILE, expected="a manifest with a format_version", found="none")
        if document["format_version"] != FORMAT_VERSION:
            raise UnsupportedFormat(
                MANIFEST_FILE, expected=f"format version {FORMAT_VERSION}", found=str(document["format_version"])
            )
        content = {key: value for key, value in document.items() if key != "checksum"}
        try:
            checksum = _checksum(content)
        except ValueError as exc:
            raise UnsupportedFormat(MANIFEST_FILE, expected="finite numbers", found=str(exc)) from exc
        if document.get("checksum") != checksum:
            raise ChecksumMismatch(MANIFEST_FILE, expected=f"checksum {checksum}", found=str(document.get("checksum")))
        del content["format_version"]
        try:
            manifest = cls(**content)
        except TypeError as exc:
            raise UnsupportedFormat(MANIFEST_FILE, expected="the fields of a manifest", found=str(exc)) from exc
        manifest._check_types()
        if manifest.model_version != (version := content_version(manifest.model_name, manifest.files)):
            raise ChecksumMismatch(
                MANIFEST_FILE,
                expected=f"model_version {version}, the hash of the files that it lists",
                found=str(manifest.model_version),
            )
        return manifest

    def _check_types(self) -> None:
        """Raises: UnsupportedFormat."""
        if not isinstance(self.model_name, str) or not self.model_name:
            raise UnsupportedFormat(MANIFEST_FILE, expected="model_name, a text", found=repr(self.model_name))
        for name in ("files", "training", "metrics", "calibration"):
            if not isinstance(found := getattr(self, name), dict):
                raise UnsupportedFormat(MANIFEST_FILE, expected=f"{name}, an object", found=type(found).__name__)
        for file, checksum in self.files.items():
            if not _is_inside(file):
                raise UnsupportedFormat(MANIFEST_FILE, expected="paths inside the bundle", found=repr(file))
            if not isinstance(checksum, str) or not _SHA256.fullmatch(checksum):
                raise UnsupportedFormat(MANIFEST_FILE, expected=f"the sha256 of {file}", found=repr(checksum))


def content_version(model_name: str, files: Mapping[str, str]) -> str:
    """16 hex digits that name the bundle's content: the network's name and every file's checksum."""
    text = json.dumps({"model": model_name, "files": dict(sorted(files.items()))}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _is_inside(file: str) -> bool:
    """Return whether a relative path names a file of the bundle, spelled in the one canonical way."""
    path = PurePosixPath(file)
    is_plain = file.isprintable() and "\\" not in file and str(path) == file
    return is_plain and not path.is_absolute() and ".." not in path.parts and path.parts != ()


def _checksum(content: Mapping[str, Any]) -> str:
    """Raises: ValueError, for NaN and infinities, which are not valid JSON."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
