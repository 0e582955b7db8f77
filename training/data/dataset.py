"""Read a dataset directory: a team's logs, in five files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from dinrank.model.bundle.schema import Group, Kind
from dinrank.model.bundle.vocabulary import token
from dinrank.training.data.declaration import DeclaredFeature, read_declaration
from dinrank.training.data.split import SPLITS, split_by_time
from dinrank.training.errors import DatasetError


@dataclass(frozen=True, slots=True)
class Dataset:
    """The tables of a dataset directory, checked.

    Attributes:
        impressions: user_id, item_id, clicked, timestamp, split and the context features; ids as text.
        behaviours: user_id, item_id, timestamp, in file order.
        items: item_id and item features, one row per item.
        users: user_id and user features, one row per user.
        titles: item titles by id, from the text column `title` of items.parquet; empty if there is none.
        split_rule: the rule that assigned rows to splits, in words.
        negative_sampling_rate: the share of the not-clicked impressions that was kept, in every split.
    """

    name: str
    source: str
    features: tuple[DeclaredFeature, ...]
    max_behaviours: int
    impressions: pl.DataFrame
    behaviours: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    split_rule: str
    negative_sampling_rate: float = 1.0
    titles: Mapping[str, str] = field(default_factory=dict)

    def group(self, group: Group) -> tuple[DeclaredFeature, ...]:
        return tuple(feature for feature in self.features if feature.group is group)


def read_dataset(path: Path) -> Dataset:
    """Read and check the dataset directory `path`.

    Raises:
        DatasetError: a file or a column is missing or unusable; the message names it.
    """
    declaration = read_declaration(path / "schema.toml")
    of_group = {group: [feature for feature in declaration.features if feature.group is group] for group in Group}
    file = path / "impressions.parquet"
    columns = ["user_id", "item_id", "clicked", "timestamp", *(feature.name for feature in of_group[Group.CONTEXT])]
    impressions = _checked(file, _with_shapes(file, _read_table(file, columns), of_group[Group.CONTEXT]))
    impressions, split_rule = with_split(file, impressions)
    return Dataset(
        name=declaration.name or path.name,
        source=declaration.source,
        features=declaration.features,
        max_behaviours=declaration.max_behaviours,
        impressions=impressions,
        behaviours=_behaviours(path / "behaviours.parquet", impressions),
        items=_entities(path / "items.parquet", "item_id", of_group[Group.ITEM]),
        users=_entities(path / "users.parquet", "user_id", of_group[Group.USER]),
        split_rule=split_rule,
        negative_sampling_rate=declaration.negative_sampling_rate,
        titles=_titles(path / "items.parquet"),
    )


def _read_table(file: Path, required: list[str]) -> pl.DataFrame:
    try:
        table = pl.read_parquet(file)
    except FileNotFoundError as exc:
        raise DatasetError(file, expected="a Parquet file", found="no file") from exc
    except pl.exceptions.PolarsError as exc:
        raise DatasetError(file, expected="a Parquet file", found=str(exc)) from exc
    missing = [column for column in required if column not in table.columns]
    if missing:
        raise DatasetError(file, expected=f"the columns {', '.join(missing)}", found=", ".join(table.columns))
    return table


def _checked(file: Path, impressions: pl.DataFrame) -> pl.DataFrame:
    if impressions.is_empty():
        raise DatasetError(file, expected="impressions", found="no row")
    impressions = _with_tokens(impressions, "user_id", "item_id")
    _refuse_nulls(file, impressions, ["user_id", "item_id", "clicked", "timestamp"])
    clicked = impressions["clicked"]
    if clicked.dtype != pl.Boolean and not (clicked.dtype.is_numeric() and clicked.is_in([0, 1]).all()):
        raise DatasetError(file, expected="clicked to be true or false, or 0 and 1", found=str(clicked.dtype))
    return impressions.with_columns(pl.col("clicked").cast(pl.Boolean))


def with_split(file: Path, impressions: pl.DataFrame) -> tuple[pl.DataFrame, str]:
    """Return the impressions with a `split`, given or by time, and the rule in words.

    Raises:
        DatasetError: an unknown split, or no rows to train, to validate or to test on.
    """
    is_given = "split" in impressions.columns
    if not is_given:
        impressions = split_by_time(impressions)
    found = set(impressions["split"].unique())
    if not found <= set(SPLITS):
        raise DatasetError(file, expected=f"split to be one of {', '.join(SPLITS)}", found=str(sorted(map(str, found))))
    if missing := {"train", "valid", "test"} - found:
        raise DatasetError(
            file, expected="rows to train, validate and test on", found=f"none of {', '.join(sorted(missing))}"
        )
    return impressions, "as given in the column split" if is_given else "by time, 80/10/10"


def _behaviours(file: Path, impressions: pl.DataFrame) -> pl.DataFrame:
    columns = ["user_id", "item_id", "timestamp"]
    if not file.exists():
        return impressions.filter(pl.col("clicked")).select(columns)
    table = _with_tokens(_read_table(file, columns).select(columns), "user_id", "item_id")
    _refuse_nulls(file, table, columns)
    if table["timestamp"].dtype != impressions["timestamp"].dtype:
        raise DatasetError(
            file,
            expected=f"timestamp as in impressions.parquet, {impressions['timestamp'].dtype}",
            found=str(table["timestamp"].dtype),
        )
    return table


def _refuse_nulls(file: Path, table: pl.DataFrame, columns: list[str]) -> None:
    for column in columns:
        if table[column].has_nulls():
            raise DatasetError(file, expected=f"a value in every row of {column}", found="nulls")


def _entities(file: Path, key: str, features: Sequence[DeclaredFeature]) -> pl.DataFrame:
    """Read one row per item or user. The file may be missing if it would hold only ids."""
    attributes = [feature for feature in features if feature.name != key]
    names = [key, *(feature.name for feature in attributes)]
    if not attributes and not file.exists():
        return pl.DataFrame(schema={key: pl.String})
    table = _with_tokens(_with_shapes(file, _read_table(file, names).select(names), attributes), key)
    if table[key].has_nulls() or table[key].is_duplicated().any():
        raise DatasetError(file, expected=f"each {key} once", found="nulls or duplicates")
    return table


def _titles(file: Path) -> dict[str, str]:
    """Read the titles that are text; `_entities` has checked the ids."""
    if not file.exists() or pl.read_parquet_schema(file).get("title") != pl.String:
        return {}
    table = _with_tokens(pl.read_parquet(file, columns=["item_id", "title"]).drop_nulls(), "item_id")
    return dict(table.iter_rows())


def _with_shapes(file: Path, table: pl.DataFrame, features: Sequence[DeclaredFeature]) -> pl.DataFrame:
    """Require lists for multi-valued features, numbers for numeric ones, single values elsewhere."""
    for feature in features:
        dtype = table[feature.name].dtype
        if isinstance(dtype, pl.Array):
            table = table.with_columns(pl.col(feature.name).arr.to_list())
        is_list = isinstance(dtype, pl.Array | pl.List)
        if is_list and feature.kind is not Kind.MULTI:
            raise DatasetError(file, expected=f"one value per row in {feature.name}", found=f"{dtype}: is it multi?")
        if feature.kind is Kind.NUMERIC and not dtype.is_numeric():
            raise DatasetError(file, expected=f"numbers in {feature.name}", found=str(dtype))
    return table


def _with_tokens(table: pl.DataFrame, *ids: str) -> pl.DataFrame:
    """Convert ids to tokens, as the service does: 21.0, 21 and "21" are one."""
    return table.with_columns(_tokens(table[name]) for name in ids)


def _tokens(column: pl.Series) -> pl.Series:
    if column.dtype == pl.String:
        return column
    distinct = column.unique()
    return column.replace_strict(distinct, [token(value) for value in distinct.to_list()], return_dtype=pl.String)
