"""Reader of dataset directories for `publish`: users with their newest behaviours, and new items."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import token
from dinrank.service.publish.errors import DatasetUnreadable
from dinrank.service.store.redis_writer import TimedBehaviour, UserRecord

_USER_ID, _CLICKED, _TIMESTAMP = "user_id", "clicked", "timestamp"
_BEHAVIOUR_IDS, _BEHAVIOUR_TIMES = "behaviours.item_id", "behaviours.timestamp"  # no feature name has a dot


@dataclass(frozen=True, slots=True)
class PublishableDataset:
    """The part of a dataset that goes into Redis. Ids are tokens.

    Attributes:
        users: one row per user: the id, the behaviours' ids and times (lists, oldest first) and the user features.
        new_items: raw attributes of the items that the bundle's catalogue lacks, by id.
    """

    users: pl.DataFrame
    new_items: Mapping[str, Attributes]

    def records(self) -> Iterator[UserRecord]:
        """Yield the users, in order."""
        for row in self.users.iter_rows(named=True):
            item_ids, times = row.pop(_BEHAVIOUR_IDS) or (), row.pop(_BEHAVIOUR_TIMES) or ()
            behaviours = [
                TimedBehaviour(item_id, time, self.new_items.get(item_id, {}))
                for item_id, time in zip(map(token, item_ids), times, strict=True)
                if item_id is not None
            ]
            yield UserRecord(row[_USER_ID], behaviours, profile=row)


def read_dataset(data: Path, schema: FeatureSchema, catalogue: Catalogue) -> PublishableDataset:
    """Read users, and items that the catalogue lacks, from the directory `data`.

    Behaviours come from behaviours.parquet if it exists, else from the clicked impressions of every split; the newest
    `schema.max_behaviours` by timestamp are kept, and simultaneous ones stay in file order. Users of users.parquet
    without behaviours are included. `items.parquet` and `users.parquet` may be missing if the schema needs only their
    ids.

    Raises:
        DatasetUnreadable: a file or column is missing or unusable.
    """
    behaviours = _newest(_behaviours(data), schema.max_behaviours)
    profiles = _entities(data / "users.parquet", _USER_ID, schema.group(Group.USER))
    items = _entities(data / "items.parquet", ITEM_ID, schema.group(Group.ITEM))
    is_new = pl.Series([item_id not in catalogue for item_id in items[ITEM_ID]], dtype=pl.Boolean)
    return PublishableDataset(
        users=behaviours.join(profiles, on=_USER_ID, how="full", coalesce=True, maintain_order="left_right"),
        new_items={row[ITEM_ID]: row for row in items.filter(is_new).iter_rows(named=True)},
    )


def _behaviours(data: Path) -> pl.DataFrame:
    columns = [_USER_ID, ITEM_ID, _TIMESTAMP]
    file = data / "behaviours.parquet"
    if file.exists():
        return _checked(file, _read(file, columns))
    file = data / "impressions.parquet"
    impressions = _read(file, [*columns, _CLICKED])
    clicked = impressions[_CLICKED]
    if clicked.dtype != pl.Boolean and not (clicked.dtype.is_numeric() and clicked.is_in([0, 1]).all()):
        raise DatasetUnreadable(
            file, expected=f"{_CLICKED} to be true or false, or 0 or 1", found=f"other values of type {clicked.dtype}"
        )
    return _checked(file, impressions.filter(clicked.cast(pl.Boolean)).select(columns))


def _checked(file: Path, behaviours: pl.DataFrame) -> pl.DataFrame:
    """Check the rows and return them with numeric timestamps: dates and times become seconds since 1970."""
    for column in behaviours.columns:
        _require_values(file, behaviours[column])
    timestamp = behaviours[_TIMESTAMP]
    if timestamp.dtype.is_numeric():
        return behaviours
    if timestamp.dtype in (pl.Datetime, pl.Date):
        return behaviours.with_columns(timestamp.dt.epoch("us") / 1_000_000)
    raise DatasetUnreadable(file, expected=f"{_TIMESTAMP} to be a number or a date", found=str(timestamp.dtype))


def _newest(behaviours: pl.DataFrame, max_behaviours: int) -> pl.DataFrame:
    """Return one row per user: the newest behaviours, oldest first."""
    in_time = behaviours.sort(_TIMESTAMP, maintain_order=True)
    newest = in_time.group_by(_USER_ID, maintain_order=True).agg(
        pl.col(ITEM_ID).tail(max_behaviours).alias(_BEHAVIOUR_IDS),
        pl.col(_TIMESTAMP).tail(max_behaviours).alias(_BEHAVIOUR_TIMES),
    )
    return newest.with_columns(_tokens(newest[_USER_ID]))


def _entities(file: Path, key: str, features: Sequence[Feature]) -> pl.DataFrame:
    """Return one row per item or user: the id, and the features apart from the id."""
    described = [feature for feature in features if feature.name != key]
    if not described and not file.exists():
        return pl.DataFrame(schema={key: pl.String})
    table = _read(file, [key, *(feature.name for feature in described)])
    for feature in described:
        _require_shape(file, feature, table[feature.name].dtype)
    ids = _tokens(table[key])
    _require_values(file, ids)
    if ids.is_duplicated().any():
        raise DatasetUnreadable(
            file, expected=f"each {key} once", found=f"{ids.filter(ids.is_duplicated())[0]!r} twice"
        )
    return table.with_columns(ids)


def _read(file: Path, columns: Sequence[str]) -> pl.DataFrame:
    try:
        present = pl.read_parquet_schema(file)
        missing = [column for column in columns if column not in present]
        if missing:
            raise DatasetUnreadable(file, expected=f"columns {', '.join(missing)}", found=f"only {', '.join(present)}")
        return pl.read_parquet(file, columns=list(columns))
    except FileNotFoundError as exc:
        raise DatasetUnreadable(file, expected="a Parquet file", found="no file") from exc
    except (OSError, pl.exceptions.PolarsError) as exc:
        raise DatasetUnreadable(file, expected="a Parquet file", found=f"one that cannot be read: {exc}") from exc


def _require_values(file: Path, column: pl.Series) -> None:
    num_missing = column.null_count() + (column.is_nan().sum() if column.dtype.is_float() else 0)
    if num_missing:
        raise DatasetUnreadable(file, expected=f"a {column.name} in every row", found=f"{num_missing} without")


def _require_shape(file: Path, feature: Feature, dtype: pl.DataType) -> None:
    is_list_of_scalars = isinstance(dtype, pl.List | pl.Array) and not _inner(dtype).is_nested()
    if dtype.is_nested() and not (feature.kind is Kind.MULTI and is_list_of_scalars):
        takes = "a list of values" if feature.kind is Kind.MULTI else "one value"
        raise DatasetUnreadable(file, expected=f"{takes} in each row of {feature.name}", found=str(dtype))


def _inner(dtype: pl.List | pl.Array) -> pl.DataType:
    return dtype.inner() if isinstance(dtype.inner, type) else dtype.inner


def _tokens(ids: pl.Series) -> pl.Series:
    return pl.Series(ids.name, [token(value) for value in ids.to_list()], dtype=pl.String)
