"""Check and normalise the columns that every log must have: ids, clicks and timestamps."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from dinrank.training.errors import DatasetError

# Common names of these columns: suggested, never assumed.
_OTHER_NAMES = {
    "user_id": ("uid", "user", "userid", "customer_id", "visitor_id", "device_id", "client_id", "member_id"),
    "item_id": ("iid", "item", "itemid", "ad_id", "adid", "ad", "product_id", "adgroup_id", "movie_id", "article_id"),
    "clicked": ("click", "clicks", "is_click", "is_clicked", "clk", "label", "target"),
    "timestamp": ("time", "ts", "time_stamp", "datetime", "date", "event_time", "created_at", "hour"),
}
SEPARATOR_ADVICE = "; or is the separator another one? --separator ';' for instance"
_CLICKED = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}
_TIME_FORMATS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
_OFFSET = r":\d{2}.*(Z|[+-]\d{2}:?\d{2})$"  # after a time of day: 2026-03-01 has none


def require_columns(file: Path, table: pl.DataFrame, names: Sequence[str], renames: Mapping[str, str]) -> None:
    """
    Args:
        renames: renames done already, old to new: options name columns as in the file.

    Raises:
        DatasetError: with the option that names the column which is probably meant.
    """
    in_file = {new: old for old, new in renames.items()}
    for name in names:
        if name not in table.columns:
            meant = [column for column in table.columns if column.lower() in _OTHER_NAMES[name]]
            example = in_file.get(meant[0], meant[0]) if meant else "COLUMN"
            advice = f"say which column it is with --map {name}={example}"
            if len(table.columns) == 1:
                advice += SEPARATOR_ADVICE
            raise DatasetError(
                file, expected=f"a column {name}", found=f"only {', '.join(table.columns)}", advice=advice
            )


def with_ids(file: Path, table: pl.DataFrame, names: Sequence[str], *, is_key: bool = False) -> pl.DataFrame:
    """Convert the id columns to text, as they are written; whole floats without their fraction.

    Args:
        is_key: whether an id may occur only once.
    """
    for name in names:
        ids = _id_text(table[name])
        _refuse(file, table[name], ids.is_null(), expected=f"a {name} in every row")
        if is_key:
            _refuse(
                file,
                ids,
                ~ids.is_first_distinct(),
                expected=f"each {name} once",
                advice="keep one row of each",
            )
        table = table.with_columns(ids.alias(name))
    return table


def _id_text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        column = column.fill_nan(None)
    text = column.cast(pl.String).replace("", None)
    is_whole_float = text.drop_nulls().str.contains(r"^-?\d+\.0$").all()
    return text.str.strip_suffix(".0") if is_whole_float else text


def with_clicked(file: Path, table: pl.DataFrame) -> pl.DataFrame:
    """Convert `clicked` to Boolean, from 0 and 1 or true and false."""
    column = table["clicked"]
    clicked = column.cast(pl.String).str.to_lowercase().replace_strict(_CLICKED, default=None, return_dtype=pl.Boolean)
    advice = (
        "a click is 1 or true, an impression without one 0 or false; another column is named by --map clicked=COLUMN"
    )
    _refuse(file, column, clicked.is_null(), expected="0, 1, true or false in clicked", advice=advice)
    return table.with_columns(clicked.alias("clicked"))


def with_timestamp(file: Path, table: pl.DataFrame) -> pl.DataFrame:
    """Convert `timestamp` to Int64, Float64 or, for ISO dates, Datetime in UTC; no offset counts as UTC."""
    column = table["timestamp"]
    if column.dtype in (pl.Date, pl.Datetime):
        moments = _without_zone(column.cast(pl.Datetime("us")) if column.dtype == pl.Date else column)
    elif column.dtype.is_integer():
        moments = column.cast(pl.Int64)
    elif column.dtype.is_float() or column.dtype.is_decimal():
        moments = _finite(column.cast(pl.Float64))
    else:
        moments = _from_text(file, column.cast(pl.String).str.strip_chars().replace("", None))
    advice = "write all as numbers, seconds since 1970 for instance, or all as dates such as 2026-03-01T18:30:00"
    _refuse(file, column, moments.is_null(), expected="a number or an ISO date in timestamp", advice=advice)
    return table.with_columns(moments.alias("timestamp"))


def same_clock(behaviours_file: Path, behaviours: pl.DataFrame, impressions: pl.DataFrame) -> tuple[pl.DataFrame, ...]:
    """Convert both tables' timestamps to one type.

    Raises:
        DatasetError: one has dates and the other numbers.
    """
    wanted, found = impressions["timestamp"].dtype, behaviours["timestamp"].dtype
    if wanted == found:
        return behaviours, impressions
    if wanted.is_numeric() and found.is_numeric():
        as_float = pl.col("timestamp").cast(pl.Float64)
        return behaviours.with_columns(as_float), impressions.with_columns(as_float)
    raise DatasetError(
        behaviours_file,
        expected=f"timestamps as in the impressions, {'numbers' if wanted.is_numeric() else 'dates'}",
        found="numbers" if found.is_numeric() else "dates",
        advice="write both in the same way",
    )


def _from_text(file: Path, text: pl.Series) -> pl.Series:
    whole = text.cast(pl.Int64, strict=False)
    if whole.null_count() == 0:
        return whole
    number, moment = _finite(text.cast(pl.Float64, strict=False)), _moments(file, text)
    return number if number.null_count() <= moment.null_count() else moment


def _moments(file: Path, text: pl.Series) -> pl.Series:
    """Parse ISO dates; null where the text is not one."""
    spaced = text.str.replace("T", " ", literal=True)
    has_offset = text.str.contains(_OFFSET)
    if not has_offset.any():
        moments = [spaced.str.to_datetime(form, strict=False, time_unit="us") for form in _TIME_FORMATS]
        return pl.select(pl.coalesce(moments)).to_series()
    _refuse(
        file,
        text,
        ~has_offset.fill_null(True),
        expected="an offset in every timestamp, as some have one",
        advice="give all of them an offset, such as Z or +01:00, or none",
    )
    with_offset = spaced.str.replace("Z$", "+00:00")
    moments = [
        with_offset.str.to_datetime(f"{form}%z", strict=False, time_unit="us").dt.replace_time_zone(None)
        for form in _TIME_FORMATS[:2]
    ]
    return pl.select(pl.coalesce(moments)).to_series()


def _without_zone(column: pl.Series) -> pl.Series:
    in_microseconds = column.dt.cast_time_unit("us")
    has_zone = isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone is not None
    return in_microseconds.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if has_zone else in_microseconds


def _finite(column: pl.Series) -> pl.Series:
    return pl.select(pl.when(column.is_finite()).then(column)).to_series()


def _refuse(file: Path, column: pl.Series, is_wrong: pl.Series, *, expected: str, advice: str | None = None) -> None:
    wrong = is_wrong.arg_true()
    if len(wrong):
        first = int(wrong[0])
        more = f"; {len(wrong):,} rows are wrong in this way" if len(wrong) > 1 else ""
        value = "nothing" if column[first] is None or column[first] == "" else repr(column[first])
        found = f"{value} in row {first + 1:,}, not counting the header{more}"
        raise DatasetError(file, expected=expected, found=found, advice=advice)
