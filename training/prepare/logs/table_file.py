"""Read CSV and Parquet files alike."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl

from dinrank.training.errors import DatasetError, LogsError

_PARQUET_MAGIC = b"PAR1"
_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"  # no leading zeros: a post code 01234 is not a number
_LARGEST_EXACT = 2.0**53  # whole numbers up to here are exact as floats


def read_table(file: Path, *, separator: str) -> pl.DataFrame:
    """Read all rows of a file; a CSV's columns are text, and an empty field is null.

    Args:
        separator: between a CSV's fields.

    Raises:
        DatasetError: the file is missing, empty, or neither Parquet nor CSV in UTF-8.
    """
    try:
        with file.open("rb") as start:
            is_parquet = start.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC
        table = pl.read_parquet(file) if is_parquet else pl.read_csv(file, separator=separator, infer_schema=False)
    except FileNotFoundError as exc:
        raise DatasetError(file, expected="a CSV or Parquet file", found="no file") from exc
    except pl.exceptions.NoDataError as exc:
        raise DatasetError(file, expected="a CSV or Parquet file with a header", found="an empty file") from exc
    except (OSError, pl.exceptions.PolarsError) as exc:
        advice = (
            "save a CSV in UTF-8, with as many fields in each line as in the header; --separator says what is between"
        )
        raise DatasetError(file, expected="a CSV or Parquet file", found=_first_line(exc), advice=advice) from exc
    if table.is_empty():
        raise DatasetError(file, expected="rows", found=f"none below the header {', '.join(table.columns)}")
    return table


def rename_columns(file: Path, table: pl.DataFrame, renames: Mapping[str, str]) -> pl.DataFrame:
    """Rename the columns that the table has among `renames`, old to new.

    Raises:
        LogsError: two columns would have one name.
    """
    present = {old: new for old, new in renames.items() if old in table.columns}
    renamed = [present.get(column, column) for column in table.columns]
    for old, new in present.items():
        if renamed.count(new) > 1:
            raise LogsError(
                f"{file}: --map {new}={old} would give two columns {new}; take one of them, or rename the other, for "
                f"instance --map other_{new}={new}"
            )
    return table.rename(present)


def _first_line(error: Exception) -> str:
    """Return the first line, without a first word that the message already has."""
    return str(error).partition("\n")[0].removeprefix("found ")


def as_values(column: pl.Series) -> pl.Series | None:
    """Convert the column to text, Boolean, Int64, Float64 or a list of text; None for other types.

    CSV and Parquet give the same result: text that is all true and false, all whole numbers or all numbers is
    converted, dates become text, and empty text and NaN become null. Floats that are all whole become
    integers: whole numbers with gaps are often stored as floats.
    """
    dtype = column.dtype
    if isinstance(dtype, pl.List | pl.Array):
        return _lists_of_text(column)
    if dtype == pl.Boolean:
        return column
    if dtype.is_float() or dtype.is_decimal():
        return _whole_if_all_are(column.cast(pl.Float64).fill_nan(None))
    if dtype.is_integer() or dtype in (pl.String, pl.Categorical, pl.Enum, pl.Date, pl.Datetime, pl.Null):
        return _typed_text(column.cast(pl.String))
    return None


def _lists_of_text(column: pl.Series) -> pl.Series | None:
    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    try:
        return lists.cast(pl.List(pl.String))
    except pl.exceptions.PolarsError:  # lists of lists, of records
        return None


def _typed_text(column: pl.Series) -> pl.Series:
    column = column.replace("", None)
    values = column.drop_nulls()
    if values.is_empty():
        return column
    if values.str.to_lowercase().is_in(["true", "false"]).all():
        return column.str.to_lowercase() == "true"
    if not values.str.contains(_NUMBER).all():
        return column
    whole = column.cast(pl.Int64, strict=False)
    if whole.null_count() == column.null_count():
        return whole
    if not values.str.contains("[.eE]").any():  # whole, but too large for an integer: an id rather than a number
        return column
    return _whole_if_all_are(column.cast(pl.Float64))


def _whole_if_all_are(column: pl.Series) -> pl.Series:
    values = column.drop_nulls()
    is_whole = (values.abs() <= _LARGEST_EXACT) & (values == values.floor())
    return column.cast(pl.Int64) if len(values) and is_whole.all() else column
