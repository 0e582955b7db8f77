"""Prepare MovieLens ratings: a rating of 4 or more is a click.

Source: F. Maxwell Harper and Joseph A. Konstan, "The MovieLens Datasets: History and Context",
    ACM TiiS 5, 4 (2015). File formats: GroupLens' README of each set, and RecBole's atomic files.
"""

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dinrank.model.bundle.schema import Group, Kind
from dinrank.training.data.declaration import DeclaredFeature
from dinrank.training.errors import DatasetError
from dinrank.training.prepare.dataset_directory import require_vacant, write_dataset
from dinrank.training.prepare.raw_text import LINE, parse_integers, read_atomic, read_separated, refuse_rows

MIN_CLICKED_RATING = 4
NO_GENRE = "unknown"
# The flags of u.item, in order; the first means that no genre is known.
_GENRES_100K = (
    f"{NO_GENRE} Action Adventure Animation Children's Comedy Crime Documentary Drama Fantasy "
    "Film-Noir Horror Musical Mystery Romance Sci-Fi Thriller War Western"
).split()
_RATING_COLUMNS = ("user_id", "item_id", "rating", "second")
_SOURCE = "GroupLens {}; clicked = rating >= 4; users split 8:1:1"


@dataclass(frozen=True, slots=True)
class _RawTables:
    """`ratings`: user_id, item_id (text), rating, second, user_number (Int64). `items`: item_id, title, genre."""

    ratings: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame


def prepare_movielens_100k(raw: Path, out: Path) -> None:
    """Turn MovieLens-100K into a dataset directory; `age` is a number of years.

    Args:
        raw: holds ml-100k.inter, ml-100k.item and ml-100k.user (RecBole's atomic files),
            or u.data, u.item and u.user (GroupLens' own). The spelling of titles may differ.

    Raises:
        DatasetError: a raw file is missing or malformed, or `out` is not vacant.
    """
    require_vacant(out)
    if (raw / "ml-100k.inter").is_file():
        tables = _read_recbole_100k(raw)
    elif (raw / "u.data").is_file():
        tables = _read_grouplens_100k(raw)
    else:
        advice = "see training.prepare.download.fetch_movielens_100k"
        raise DatasetError(raw, expected="a folder with ml-100k.inter or u.data", found="neither", advice=advice)
    _write(out, tables, name="ml-100k", source=_SOURCE.format("MovieLens-100K"), age=Kind.NUMERIC)


def prepare_movielens_1m(raw: Path, out: Path) -> None:
    """Turn MovieLens-1M into a dataset directory; `age` is the lower end of a bracket and kept as text.

    Args:
        raw: holds ratings.dat, movies.dat and users.dat as GroupLens publishes them.

    Raises:
        DatasetError: a raw file is missing or malformed, or `out` is not vacant.
    """
    require_vacant(out)
    ratings = _read_grouplens(raw / "ratings.dat", "::", _RATING_COLUMNS)
    items = _read_grouplens(raw / "movies.dat", "::", ("item_id", "title", "genre"), unique="item_id")
    users = _read_grouplens(
        raw / "users.dat", "::", ("user_id", "gender", "age", "occupation", "zip"), unique="user_id"
    )
    tables = _RawTables(
        ratings=_parse_ratings(ratings, raw / "ratings.dat"),
        items=items.with_columns(genre=_genres("|")),
        users=users,
    )
    _write(out, tables, name="ml-1m", source=_SOURCE.format("MovieLens-1M"), age=Kind.SINGLE)


def impressions_from_ratings(ratings: pl.DataFrame) -> pl.DataFrame:
    """Label, order and split ratings.

    `timestamp` is the dense rank of the second within the user, from 0: ratings of the same second are
    simultaneous. `hour` (0 to 23) and `weekday` (1 = Monday to 7 = Sunday) are UTC and text.
    `split` is by user, so that no measured user's labels are trained on: user number mod 10 is 0 for test,
    1 for valid.

    Of simultaneous ratings the order of `ratings` is kept.

    Args:
        ratings: user_id and item_id as text; rating, second (since 1970, UTC) and user_number as integers.
    """
    time = pl.from_epoch("second", time_unit="s")
    last_digit = pl.col("user_number") % 10
    return ratings.sort("user_number", "second", maintain_order=True).select(
        "user_id",
        "item_id",
        clicked=pl.col("rating") >= MIN_CLICKED_RATING,
        timestamp=pl.col("second").rank("dense").over("user_id").cast(pl.Int64) - 1,
        hour=time.dt.hour().cast(pl.String),
        weekday=time.dt.weekday().cast(pl.String),
        split=pl.when(last_digit == 0)
        .then(pl.lit("test"))
        .when(last_digit == 1)
        .then(pl.lit("valid"))
        .otherwise(pl.lit("train")),
    )


def _read_recbole_100k(raw: Path) -> _RawTables:
    ratings = read_atomic(raw / "ml-100k.inter", ("user_id", "item_id", "rating", "timestamp"))
    items = read_atomic(raw / "ml-100k.item", ("item_id", "movie_title", "release_year", "class"))
    users = read_atomic(raw / "ml-100k.user", ("user_id", "age", "gender", "occupation"))
    _require_unique(items, raw / "ml-100k.item", "item_id")
    _require_unique(users, raw / "ml-100k.user", "user_id")
    # RecBole moved the year from the title into a column of its own; where that failed, the title still has it.
    title, year = pl.col("movie_title"), pl.col("release_year")
    full_title = pl.when(year.str.contains(r"^\d{4}$")).then(pl.format("{} ({})", title, year)).otherwise(title)
    items = items.with_columns(title=full_title, genre=pl.col("class")).with_columns(genre=_genres(" "))
    return _RawTables(
        ratings=_parse_ratings(ratings.rename({"timestamp": "second"}), raw / "ml-100k.inter"),
        items=items,
        users=parse_integers(users, raw / "ml-100k.user", "age"),
    )


def _read_grouplens_100k(raw: Path) -> _RawTables:
    ratings = _read_grouplens(raw / "u.data", "\t", _RATING_COLUMNS)
    item_columns = ("item_id", "title", "release_date", "video_release_date", "url", *_GENRES_100K)
    items = _read_grouplens(raw / "u.item", "|", item_columns, unique="item_id")
    users = _read_grouplens(raw / "u.user", "|", ("user_id", "age", "gender", "occupation", "zip"), unique="user_id")
    for genre in _GENRES_100K:
        is_flag = pl.col(genre).is_in(["0", "1"])
        refuse_rows(items, raw / "u.item", ~is_flag, column=genre, expected=f"0 or 1 as the flag of {genre}")
    flagged = [pl.when(pl.col(genre) == "1").then(pl.lit(genre)) for genre in _GENRES_100K if genre != NO_GENRE]
    return _RawTables(
        ratings=_parse_ratings(ratings, raw / "u.data"),
        items=items.with_columns(genre=pl.concat_list(flagged).list.drop_nulls()),
        users=parse_integers(users, raw / "u.user", "age"),
    )


def _read_grouplens(path: Path, separator: str, columns: tuple[str, ...], *, unique: str | None = None) -> pl.DataFrame:
    rows = read_separated(path, separator=separator, columns=columns, encoding="latin-1")
    if unique is not None:
        _require_unique(rows, path, unique)
    return rows


def _parse_ratings(rows: pl.DataFrame, path: Path) -> pl.DataFrame:
    rows = rows.with_columns(user_number="user_id")
    return parse_integers(rows, path, "user_number", "rating", "second").drop(LINE)


def _require_unique(rows: pl.DataFrame, path: Path, column: str) -> None:
    is_repeated = ~pl.col(column).is_first_distinct()
    refuse_rows(rows, path, is_repeated, column=column, expected=f"each {column} once")


def _genres(separator: str) -> pl.Expr:
    names = pl.col("genre").str.split(separator)
    return names.list.eval(pl.element().filter(~pl.element().is_in(["", NO_GENRE])))


def _write(out: Path, tables: _RawTables, *, name: str, source: str, age: Kind) -> None:
    year = pl.col("title").str.extract(r".*\((\d{4})\)").cast(pl.Int64)
    decade = (year // 10 * 10).cast(pl.String)
    write_dataset(
        out,
        name=name,
        source=source,
        features=(
            DeclaredFeature("item_id", Group.ITEM),
            DeclaredFeature("genre", Group.ITEM, Kind.MULTI),
            DeclaredFeature("decade", Group.ITEM),
            DeclaredFeature("gender", Group.USER),
            DeclaredFeature("age", Group.USER, age),
            DeclaredFeature("occupation", Group.USER),
            DeclaredFeature("hour", Group.CONTEXT),
            DeclaredFeature("weekday", Group.CONTEXT),
        ),
        impressions=impressions_from_ratings(tables.ratings),
        items=tables.items.select("item_id", "genre", decade.alias("decade"), "title"),
        users=tables.users.select("user_id", "gender", "age", "occupation"),
    )
