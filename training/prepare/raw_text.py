"""Read raw text files; every error names the file and the line."""

import gzip
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from dinrank.training.errors import DatasetError

LINE = "line"  # the column that holds the line number, from 1
_EXCERPT_CHARS = 80


def read_separated(path: Path, *, separator: str, columns: Sequence[str], encoding: str) -> pl.DataFrame:
    """Read a file without a header into text columns and a `line` column. Empty lines are skipped.

    Raises:
        DatasetError: the file is missing, is not in this encoding, or a line has another number of fields.
    """
    return _split(_read_lines(path, encoding), path, separator=separator, columns=columns)


def read_atomic(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    """Read the named columns of a RecBole atomic file as text, and a `line` column.

    Atomic files are UTF-8, tab separated, with a header of `name:type` fields; the types are not used.

    Raises:
        DatasetError: the file or a column is missing, or a line has another number of fields than the header.
    """
    lines = _read_lines(path, "utf-8")
    if lines.is_empty():
        raise DatasetError(path, expected="a header such as user_id:token", found="an empty file")
    number, header = lines.row(0)
    names = [field.partition(":")[0] for field in header.split("\t")]
    missing = [column for column in columns if column not in names]
    if missing or len(set(names)) < len(names):
        found = excerpt(header)
        raise DatasetError(path, line=number, expected=f"a header with {', '.join(columns)}, each once", found=found)
    return _split(lines[1:], path, separator="\t", columns=names).select(LINE, *columns)


def parse_integers(rows: pl.DataFrame, path: Path, *columns: str) -> pl.DataFrame:
    """Convert these text columns to Int64; "4" and "4.0" are both 4.

    Raises:
        DatasetError: a value is not a whole number.
    """
    for column in columns:
        number = pl.col(column).str.strip_chars().cast(pl.Float64, strict=False)
        is_whole = number.is_finite() & (number == number.floor())
        refuse_rows(rows, path, ~is_whole.fill_null(False), column=column, expected=f"a whole number as {column}")
        rows = rows.with_columns(number.cast(pl.Int64))
    return rows


def refuse_rows(rows: pl.DataFrame, path: Path, is_bad: pl.Expr, *, column: str, expected: str) -> None:
    """Raise DatasetError for the first row where `is_bad` holds, showing its `column`."""
    bad = rows.filter(is_bad).select(LINE, column).head(1)
    if bad.height:
        line, value = bad.row(0)
        raise DatasetError(path, line=line, expected=expected, found=excerpt(value))


def excerpt(value: object) -> str:
    """Format a value for a message: quoted, and cut if long."""
    text = repr(value)
    return text if len(text) <= _EXCERPT_CHARS else text[:_EXCERPT_CHARS] + "..."


@contextmanager
def open_lines(path: Path) -> Iterator[Iterator[tuple[int, str]]]:
    """Open a UTF-8 file, unpacked if its name ends in .gz, as numbered lines; blank lines are skipped.

    On a terminal, a bar on stderr shows how much of the file has been read.

    Raises:
        DatasetError: while iterating, when the file is cut off or is not UTF-8.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with (
        Progress(
            *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
        ) as progress,
        progress.open(path, "rb", description=path.name) as packed,
        gzip.open(packed) if path.suffix == ".gz" else nullcontext(packed) as lines,
    ):
        yield _decoded(lines, path)


def _decoded(lines: Iterable[bytes], path: Path) -> Iterator[tuple[int, str]]:
    number = 0
    try:
        for number, line in enumerate(lines, start=1):  # noqa: B007 the handlers use it
            text = line.decode("utf-8")
            if not text.isspace():
                yield number, text
    except UnicodeDecodeError as exc:
        raise DatasetError(path, line=number, expected="UTF-8 text", found=str(exc)) from exc
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        advice = "download the file again"
        raise DatasetError(path, line=number + 1, expected="a whole gzip file", found=str(exc), advice=advice) from exc


def _read_lines(path: Path, encoding: str) -> pl.DataFrame:
    try:
        text = path.read_text(encoding=encoding)
    except FileNotFoundError as exc:
        raise DatasetError(path, expected="a raw file", found="nothing there") from exc
    except UnicodeDecodeError as exc:
        raise DatasetError(path, expected=f"{encoding} text", found=str(exc)) from exc
    # Only newlines end a line: splitlines() would also cut at characters such as \x85, which latin-1 titles may hold.
    lines = pl.Series("text", text.split("\n"), dtype=pl.String)
    frame = pl.DataFrame({LINE: pl.int_range(1, len(lines) + 1, eager=True), "text": lines})
    return frame.filter(pl.col("text") != "")


def _split(lines: pl.DataFrame, path: Path, *, separator: str, columns: Sequence[str]) -> pl.DataFrame:
    fields = pl.col("text").str.split(separator)
    is_bad = fields.list.len() != len(columns)
    expected = f"{len(columns)} fields ({', '.join(columns)}) separated by {separator!r}"
    refuse_rows(lines, path, is_bad, column="text", expected=expected)
    return lines.select(LINE, *(fields.list.get(index).alias(column) for index, column in enumerate(columns)))
