"""Where each part of a bundle lies, and how a file's checksum is taken."""

import hashlib
from pathlib import Path

SCHEMA_FILE = "schema.json"
GRAPH_FILE = "model.onnx"
GOLDEN_FILE = "golden.json"
ITEM_IDS_FILE = "items/ids.json"


def vocabulary_file(feature_name: str) -> str:
    return f"vocabulary/{feature_name}.json"


def column_file(feature_name: str) -> str:
    return f"items/{feature_name}.npy"


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
