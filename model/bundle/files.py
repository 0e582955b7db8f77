"""Paths of a bundle's parts, and the checksum of a file."""

import hashlib
from pathlib import Path

from dinrank.model.bundle.token_index import ARRAYS

SCHEMA_FILE = "schema.json"
GRAPH_FILE = "model.onnx"
GOLDEN_FILE = "golden.json"
GRAPH_DATA_FILE = "model.onnx.data"  # large tensors of the graphs; absent when there are none
SIGNATURE_FILE = "manifest.sig"  # signs the manifest's exact bytes; optional, and the only file not in the manifest
ITEM_IDS = "items/ids"  # a directory, as each index of tokens is


def vocabulary_path(feature_name: str) -> str:
    """A directory: the index of the feature's tokens."""
    return f"vocabulary/{feature_name}"


def buckets_file(feature_name: str) -> str:
    return f"vocabulary/{feature_name}.json"


def index_files(directory: str) -> dict[str, str]:
    """The files of an index of tokens, by the name of the array that each holds."""
    return {name: f"{directory}/{name}.npy" for name in ARRAYS}


def column_file(feature_name: str) -> str:
    return f"items/{feature_name}.npy"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
