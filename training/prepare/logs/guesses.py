"""Guess from their values which columns become features, and of which kind; each guess gives its reason."""

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from dinrank.model.bundle.schema import ITEM_ID, Group, Kind, is_feature_name
from dinrank.training.errors import LogsError
from dinrank.training.prepare.logs.table_file import as_values

FEW_VALUES = 50  # whole numbers with at most this many distinct values are categories rather than amounts
MANY_VALUES = 100  # text with more values than this, and ...
OWN_VALUE_SHARE = 0.5  # ... more values than this share of the rows, identifies rows and teaches nothing
SEPARATORS = ("|", ";")
_SEPARATED_SHARE = 0.1  # text is a list if at least this share of rows has the separator

_TITLE = "title"
# Columns with a meaning of their own, which are kept but are not features.
_KEPT = {
    Group.CONTEXT: {
        "bid": "the bid, for `training replay`",
        "split": "says which rows are trained, validated and tested on",
    },
    Group.ITEM: {_TITLE: "a title to show"},
    Group.USER: {},
}
_NO_FEATURE = {
    Group.CONTEXT: {"user_id", "item_id", "clicked", "timestamp"},
    Group.ITEM: {"item_id"},
    Group.USER: {"user_id"},
}


@dataclass(frozen=True, slots=True)
class Override:
    """The user's choice for a column.

    Attributes:
        kind: None for no feature.
        separator: in a text with several values.
    """

    kind: Kind | None
    separator: str | None = None


@dataclass(frozen=True, slots=True)
class Guess:
    """One column's part in the dataset.

    Attributes:
        kind: None if it is not a feature.
        reason: in words, for the user.
        values: as written to the dataset, also for columns that are left out, in case they are wanted after all;
            None if nothing is written.
    """

    column: str
    group: Group
    kind: Kind | None
    reason: str
    values: pl.Series | None

    @property
    def is_declarable(self) -> bool:
        """Return whether it could be made a feature in schema.toml."""
        return self.kind is None and self.values is not None and self.column not in _KEPT[self.group]


def guess_columns(group: Group, table: pl.DataFrame, wishes: Mapping[str, Override], *, taken: set[str]) -> list[Guess]:
    """Guess every column that is not required, in the table's order.

    Args:
        taken: names of features that other tables have.

    Raises:
        LogsError: an override that the column's values do not allow.
    """
    return [
        _guess(group, column, wishes.get(column.name), is_taken=column.name in taken)
        for column in table
        if column.name not in _NO_FEATURE[group]
    ]


def item_id_guess(wishes: Mapping[str, Override]) -> Guess:
    """Return the guess for the item itself, which has no column of its own."""
    wish = wishes.get(ITEM_ID)
    if wish is not None and wish.kind is None:
        return Guess(ITEM_ID, Group.ITEM, None, "as you said", None)
    if wish is not None and wish.kind is not Kind.SINGLE:
        raise LogsError(f"--feature {ITEM_ID}={wish.kind}: an id is single, or none to learn from attributes alone")
    return Guess(ITEM_ID, Group.ITEM, Kind.SINGLE, "the item itself", None)


def _guess(group: Group, column: pl.Series, wish: Override | None, *, is_taken: bool) -> Guess:
    name, values = column.name, as_values(column)
    if (meaning := _KEPT[group].get(name)) is not None:
        if wish is not None and wish.kind is not None:
            raise LogsError(f"--feature {name}: the column is {meaning}; rename it with --map to learn from it")
        # A film may be called 1984, which is still not a number.
        is_title = group is Group.ITEM and name == _TITLE
        return Guess(name, group, None, f"kept: {meaning}", column.cast(pl.String) if is_title else values)
    reason = _reason_to_drop(column, wish, is_taken=is_taken, has_values=values is not None)
    if reason is not None or values is None:
        return Guess(name, group, None, f"left out: {reason}", None)
    if wish is not None:
        return _as_wished(group, column, values, wish)
    kind, reason, values = _by_values(name, values)
    return Guess(name, group, kind, reason if kind is not None else f"left out: {reason}", values)


def _reason_to_drop(column: pl.Series, wish: Override | None, *, is_taken: bool, has_values: bool) -> str | None:
    if wish is not None and wish.kind is None:
        return "as you said"
    if is_taken:
        return "another table has a feature of this name; rename this one to have both"
    if not is_feature_name(column.name):
        return f"a feature's name has letters, digits and underscores; --map some_name='{column.name}' renames it"
    return None if has_values else f"{column.dtype} is no text, number or list"


def _as_wished(group: Group, column: pl.Series, values: pl.Series, wish: Override) -> Guess:
    said = "as you said"
    is_list = isinstance(values.dtype, pl.List)
    if wish.separator is not None:
        if is_list or column.dtype != pl.String:
            raise LogsError(f"--multi {column.name}: the column holds {column.dtype} and no text to be cut")
        return Guess(column.name, group, Kind.MULTI, f"{said}, cut at {wish.separator!r}", _cut(column, wish.separator))
    if wish.kind is Kind.NUMERIC and not is_list:
        return Guess(column.name, group, Kind.NUMERIC, said, _as_numbers(values))
    if is_list and wish.kind is not Kind.MULTI:
        raise LogsError(f"--feature {column.name}={wish.kind}: the column holds lists, which are multi")
    if wish.kind is Kind.MULTI and not is_list:
        raise LogsError(
            f"--feature {column.name}=multi: the column holds no lists; --multi '{column.name}:|' cuts its text at |"
        )
    return Guess(column.name, group, wish.kind, said, values)


def _as_numbers(values: pl.Series) -> pl.Series:
    """Raises: LogsError, if a value is not a number."""
    if values.dtype.is_numeric():
        return values
    numbers = values.cast(pl.String).cast(pl.Float64, strict=False)
    is_odd = numbers.is_null() & values.is_not_null()
    if is_odd.any():
        raise LogsError(
            f"--feature {values.name}=numeric: {values.filter(is_odd)[0]!r} is no number; single is for text"
        )
    return numbers


def _by_values(name: str, values: pl.Series) -> tuple[Kind | None, str, pl.Series]:
    """Return kind, reason, and the values in the form of this kind."""
    if isinstance(values.dtype, pl.List):
        return Kind.MULTI, "lists", values
    num_values = values.drop_nulls().n_unique()
    if num_values < 2:
        return None, "every row has the same" if num_values else "no row has a value", values
    if values.dtype.is_float():
        return Kind.NUMERIC, "numbers with fractions", values
    if values.dtype.is_integer() and not name.lower().endswith("id"):
        if num_values <= FEW_VALUES:
            return Kind.SINGLE, f"whole numbers, only {num_values} different ones", values
        return Kind.NUMERIC, f"whole numbers, {num_values:,} different ones", values
    return _by_names(values, num_values)


def _by_names(values: pl.Series, num_values: int) -> tuple[Kind | None, str, pl.Series]:
    """The same for categories: text, ids, true and false."""
    if values.dtype == pl.String:
        if _is_date(values):
            return None, "a date; make an hour or a weekday of it", values
        if (separator := _separator(values)) is not None:
            return Kind.MULTI, f"text with {separator!r} between values", _cut(values, separator)
    if num_values > MANY_VALUES and num_values > OWN_VALUE_SHARE * (len(values) - values.null_count()):
        return None, f"nearly every row has its own: {num_values:,} different ones", values
    if values.dtype == pl.Boolean:
        return Kind.SINGLE, "true and false", values
    return Kind.SINGLE, f"{'text' if values.dtype == pl.String else 'ids'}, {num_values:,} different values", values


def _is_date(values: pl.Series) -> bool:
    return bool(values.drop_nulls().str.contains(r"^\d{4}-\d{2}-\d{2}([T ].*)?$").all())


def _separator(values: pl.Series) -> str | None:
    """Find the separator of a text with several values; the parts must recur, or it is prose."""
    present = values.drop_nulls()
    for separator in SEPARATORS:
        is_frequent = int(present.str.contains(separator, literal=True).sum()) >= _SEPARATED_SHARE * len(present)
        if is_frequent and _cut(present, separator).explode().n_unique() < present.n_unique():
            return separator
    return None


def _cut(text: pl.Series, separator: str) -> pl.Series:
    """Cut text into lists of stripped parts; empty parts are dropped."""
    parts = text.replace("", None).str.split(separator)
    return parts.list.eval(pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != ""))
