"""Write a dataset directory atomically."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

import polars as pl

from dinrank.model.bundle import staging
from dinrank.model.bundle.schema import Group, Kind
from dinrank.training.data.declaration import MAX_VALUES, DeclaredFeature
from dinrank.training.errors import DatasetError

MAX_BEHAVIOURS = 50
_ALWAYS_THERE = {Group.CONTEXT: {"user_id", "item_id", "clicked", "timestamp"}, Group.ITEM: {"item_id"}}


def write_dataset(
    out: Path,
    *,
    name: str,
    source: str,
    features: Sequence[DeclaredFeature],
    impressions: pl.DataFrame,
    items: pl.DataFrame,
    users: pl.DataFrame,
    behaviours: pl.DataFrame | None = None,
    remarks: Mapping[str, str] = MappingProxyType({}),
    left_out: Sequence[DeclaredFeature] = (),
) -> None:
    """Write schema.toml, impressions.parquet, items.parquet and users.parquet into a new directory `out`.

    Readers see the complete directory or none: it is written beside `out` and renamed once.
    Columns that no feature declares are kept in the files and ignored by the trainer.

    Args:
        name, source: the data set's name and the origin of its rows, for reports.
        features: in the order in which the network will see them.
        behaviours: behaviours.parquet; None where behaviours are the clicked impressions.
        remarks: comments in schema.toml, by feature.
        left_out: columns that could be features; schema.toml has them as comments.

    Raises:
        DatasetError: `out` is a file or a directory that is not empty.
        ValueError: a declared feature, or a column that every dataset needs, is in no frame.
    """
    frames = {Group.CONTEXT: impressions, Group.ITEM: items, Group.USER: users}
    for group, frame in frames.items():
        declared = {feature.name for feature in features if feature.group is group}
        needed = declared | _ALWAYS_THERE.get(group, {"user_id"})
        missing = sorted(needed - set(frame.columns))
        if missing:
            raise ValueError(f"the {group} frame lacks {', '.join(missing)}; it has {', '.join(frame.columns)}")
    with staged_directory(out) as directory:
        schema = _schema_toml(name, source, features, remarks=remarks, left_out=left_out)
        (directory / "schema.toml").write_text(schema, encoding="utf-8", newline="\n")
        _write_parquet(impressions, directory / "impressions.parquet")
        _write_parquet(items, directory / "items.parquet")
        _write_parquet(users, directory / "users.parquet")
        if behaviours is not None:
            _write_parquet(behaviours, directory / "behaviours.parquet")


def _write_parquet(frame: pl.DataFrame, file: Path) -> None:
    """Raises: OSError, also where polars wraps the system's error in one of its own."""
    try:
        frame.write_parquet(file)
    except pl.exceptions.ComputeError as exc:
        said = re.search(r"\(os error (\d+)\)", str(exc))
        if said is None:
            raise
        raise OSError(int(said[1]), os.strerror(int(said[1])), str(file)) from exc


@contextmanager
def staged_directory(out: Path) -> Iterator[Path]:
    """An empty directory beside `out` that becomes `out` when the block succeeds and vanishes when it fails.

    Missing parents of `out` are made, and stay.

    Raises:
        DatasetError: see `require_vacant`.
    """
    require_vacant(out)
    with staging.staged_directory(out) as directory:
        yield directory
        require_vacant(out)  # another process may have been faster


def require_vacant(out: Path) -> None:
    """Refuse to overwrite anything; call it before long work too. An empty directory is vacant.

    Raises:
        DatasetError: `out` is a file or a directory that is not empty.
    """
    advice = "name another directory, or delete this one first"
    if out.is_dir():
        entries = sorted(entry.name for entry in out.iterdir())
        if entries:
            found = f"a directory that holds {', '.join(entries[:3])}{', ...' if len(entries) > 3 else ''}"
            raise DatasetError(out, expected="no directory or an empty one", found=found, advice=advice)
    elif out.exists() or out.is_symlink():
        raise DatasetError(out, expected="no directory or an empty one", found="a file", advice=advice)


def _schema_toml(
    name: str,
    source: str,
    features: Sequence[DeclaredFeature],
    *,
    remarks: Mapping[str, str] = MappingProxyType({}),
    left_out: Sequence[DeclaredFeature] = (),
) -> str:
    lines = ["[dataset]", f"name = {_quoted(name)}", f"source = {_quoted(source)}", ""]
    lines += ["[behaviours]", f"max_length = {MAX_BEHAVIOURS}"]
    for feature in features:
        lines += ["", *_section(feature, remarks)]
    for feature in left_out:
        lines += ["", *(f"# {line}" for line in _section(feature, remarks))]
    return "\n".join(lines) + "\n"


def _section(feature: DeclaredFeature, remarks: Mapping[str, str]) -> list[str]:
    remark = remarks.get(feature.name)
    lines = ["[[features]]" if remark is None else f"[[features]]  # {' '.join(remark.split())}"]
    lines += [f"name = {_quoted(feature.name)}", f"group = {_quoted(feature.group)}"]
    if feature.kind is not Kind.SINGLE:
        lines.append(f"kind = {_quoted(feature.kind)}")
    if feature.max_values != MAX_VALUES:
        lines.append(f"max_values = {feature.max_values}")
    return lines


def _quoted(text: str) -> str:
    """Quote a TOML basic string. JSON's escapes are a subset of TOML's, but JSON allows a raw DEL and TOML does not."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
