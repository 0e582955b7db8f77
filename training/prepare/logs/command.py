"""`prepare logs`: turn logs in CSV or Parquet into a dataset directory with its schema.toml."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import polars as pl
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dinrank.model.bundle.schema import ITEM_ID, Group, Kind
from dinrank.training.data.dataset import with_split
from dinrank.training.data.declaration import DeclaredFeature
from dinrank.training.errors import DatasetError, LogsError
from dinrank.training.prepare.dataset_directory import require_vacant, write_dataset
from dinrank.training.prepare.logs.guesses import Guess, Override, guess_columns, item_id_guess
from dinrank.training.prepare.logs.owners import agreement
from dinrank.training.prepare.logs.required import (
    SEPARATOR_ADVICE,
    require_columns,
    same_clock,
    with_clicked,
    with_ids,
    with_timestamp,
)
from dinrank.training.prepare.logs.table_file import read_table, rename_columns

_IMPRESSION = ["user_id", "item_id", "clicked", "timestamp"]
_BEHAVIOUR = ["user_id", "item_id", "timestamp"]
_OF_THE_IMPRESSION = {*_IMPRESSION, "bid", "split"}


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Options of `prepare logs`.

    Attributes:
        items, users, behaviours: files; None for none.
        renames: new name by column in the files.
        wishes: overrides by column.
        item_columns, user_columns: columns of the impressions that describe the item or the user, where these have no
            file of their own.
        context_columns: those that describe neither, whatever their values suggest.
        separator: between a CSV's fields.
        name: of the data set; None for that of the directory.
    """

    impressions: Path
    items: Path | None = None
    users: Path | None = None
    behaviours: Path | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    wishes: Mapping[str, Override] = field(default_factory=dict)
    item_columns: Sequence[str] = ()
    user_columns: Sequence[str] = ()
    context_columns: Sequence[str] = ()
    separator: str = ","
    name: str | None = None


@dataclass(frozen=True, slots=True)
class _Logs:
    """The logs as read.

    Attributes:
        impressions: without the columns that describe items or users.
        owned: those of them that no option named, with the reason.
        hints: advice for the user, in words.
    """

    impressions: pl.DataFrame
    items: pl.DataFrame
    users: pl.DataFrame
    behaviours: pl.DataFrame | None
    owned: Mapping[str, str]
    hints: Sequence[str]


def prepare_logs(options: LogOptions, out: Path, console: Console) -> None:
    """Read, check and write; prints each column's part in the dataset and why.

    Raises:
        DatasetError: a file holds an invalid value, with the row; or `out` is not vacant.
        LogsError: an option does not fit the files.
    """
    require_vacant(out)
    with console.status("reading the logs"):
        logs = _read(options)
    impressions, items, users, behaviours = logs.impressions, logs.items, logs.users, logs.behaviours
    guesses = [item_id_guess(options.wishes)]
    for group, table in ((Group.ITEM, items), (Group.USER, users), (Group.CONTEXT, impressions)):
        taken = {guess.column for guess in guesses if guess.kind is not None}
        guesses += guess_columns(group, table, options.wishes, taken=taken)
    guesses = [
        replace(guess, reason=f"{guess.reason}; {logs.owned[guess.column]}") if guess.column in logs.owned else guess
        for guess in guesses
    ]
    declared = [guess for guess in guesses if guess.kind is not None]
    if not any(guess.group is Group.ITEM for guess in declared):
        raise LogsError(
            "no column describes the items: without item_id as a feature, --feature category=single is needed"
        )
    with_split(options.impressions, impressions)
    files = [options.impressions, options.items, options.users, options.behaviours]
    with console.status(f"writing {escape(str(out))}"):
        write_dataset(
            out,
            name=options.name or out.resolve().name,
            source=", ".join(file.name for file in files if file is not None),
            features=[_declaration(guess) for guess in declared],
            impressions=_with_values(impressions.select(_IMPRESSION), guesses, Group.CONTEXT),
            items=_with_values(items.select("item_id"), guesses, Group.ITEM),
            users=_with_values(users.select("user_id"), guesses, Group.USER),
            behaviours=behaviours,
            remarks={guess.column: guess.reason for guess in guesses},
            left_out=[_declaration(guess) for guess in guesses if guess.is_declarable],
        )
    _show(console, out, guesses, logs)


def _read(options: LogOptions) -> _Logs:
    """Read impressions, items, users and behaviours and check their required columns."""
    files = (options.impressions, options.items, options.users, options.behaviours)
    raw = {file: read_table(file, separator=options.separator) for file in files if file is not None}
    _require_known("--map", options.renames, raw)
    raw = {file: rename_columns(file, table, options.renames) for file, table in raw.items()}
    _require_known("--feature or --multi", [name for name in options.wishes if name != ITEM_ID], raw)
    _require_entity_columns("--item-column", options.item_columns, options.items, raw[options.impressions])
    _require_entity_columns("--user-column", options.user_columns, options.users, raw[options.impressions])
    _require_entity_columns("--context-column", options.context_columns, None, raw[options.impressions])
    file = options.impressions
    require_columns(file, raw[file], _IMPRESSION, options.renames)
    impressions = with_timestamp(file, with_clicked(file, with_ids(file, raw[file], ["user_id", "item_id"])))
    behaviours = None
    if options.behaviours is not None:
        file = options.behaviours
        require_columns(file, raw[file], _BEHAVIOUR, options.renames)
        behaviours = with_timestamp(file, with_ids(file, raw[file], ["user_id", "item_id"])).select(_BEHAVIOUR)
        behaviours, impressions = same_clock(file, behaviours, impressions)
    owned, hints = _owners(options, impressions)
    entities = []
    for key, entity_file, columns in (
        ("item_id", options.items, [*options.item_columns, *owned]),
        ("user_id", options.users, options.user_columns),
    ):
        if entity_file is None:
            entities.append(_newest_values(impressions, key, columns))
        else:
            require_columns(entity_file, raw[entity_file], [key], options.renames)
            table = with_ids(entity_file, raw[entity_file], [key], is_key=True)
            _require_common_ids(entity_file, table, impressions, key)
            entities.append(table)
        impressions = impressions.drop(columns)
    return _Logs(impressions, entities[0], entities[1], behaviours, owned, hints)


def _owners(options: LogOptions, impressions: pl.DataFrame) -> tuple[Mapping[str, str], Sequence[str]]:
    """Find columns of the impressions that belong to items, with the reason, and hints about likely other owners."""
    owned: dict[str, str] = {}
    hints = []
    named = {*options.item_columns, *options.user_columns, *options.context_columns, *_OF_THE_IMPRESSION}
    for column in impressions.columns:
        wish = options.wishes.get(column)
        if column in named or (wish is not None and wish.kind is None):
            continue
        of_items = agreement(impressions, "item_id", column)
        keep = f"--context-column {column} keeps it as it is"
        if of_items.is_exact and options.items is None:
            owned[column] = f"the same in every impression of an item; {keep}"
            continue
        if of_items.is_exact or of_items.is_near:
            remedy = f"move it to {options.items.name}" if options.items is not None else f"--item-column {column}"
            hints.append(
                f"{column} is the same in {of_items.share:.1%} of the impressions of an item. As context it would be "
                f"one value for all candidates of a request: {remedy}, if it describes the item; {keep}."
            )
            continue
        of_users = agreement(impressions, "user_id", column)  # a pass over the log, so only on demand
        if of_users.is_exact or of_users.is_near:
            remedy = f"move it to {options.users.name}" if options.users is not None else f"--user-column {column}"
            hints.append(
                f"{column} is the same in {of_users.share:.1%} of the impressions of a user: {remedy}, if it describes "
                f"the user; as context every request has to bring it. {keep}."
            )
    return owned, hints


def _require_known(option: str, names: Iterable[str], tables: Mapping[Path, pl.DataFrame]) -> None:
    """Raises: LogsError, if an option names a column that no file has."""
    columns = {name for table in tables.values() for name in table.columns}
    for name in names:
        if name not in columns:
            advice = SEPARATOR_ADVICE if any(len(table.columns) == 1 for table in tables.values()) else ""
            raise LogsError(f"{option}: no file has a column {name}; there are {', '.join(sorted(columns))}{advice}")


def _require_entity_columns(option: str, names: Sequence[str], file: Path | None, impressions: pl.DataFrame) -> None:
    """Raises: LogsError, if these columns of the impressions cannot describe items or users."""
    for name in names:
        if file is not None:
            raise LogsError(
                f"{option} {name}: {file} holds these attributes; a column of the impressions would be another"
            )
        if name not in impressions.columns:
            found = ", ".join(impressions.columns)
            raise LogsError(f"{option} {name}: the impressions have no such column; they have {found}")
        if name in _OF_THE_IMPRESSION:
            raise LogsError(f"{option} {name}: that column belongs to the impression; leave the option out")


def _newest_values(impressions: pl.DataFrame, key: str, columns: Sequence[str]) -> pl.DataFrame:
    """Return a row per item or user with the newest value of each column, sorted by id, whatever the log's order."""
    in_time = impressions.select(key, "timestamp", *columns).sort("timestamp", maintain_order=True)
    newest = in_time.group_by(key).agg(pl.col(column).drop_nulls().last() for column in columns)
    return newest.sort(key)


def _require_common_ids(file: Path, table: pl.DataFrame, impressions: pl.DataFrame, key: str) -> None:
    if not impressions[key].is_in(table[key].implode()).any():
        raise DatasetError(
            file,
            expected=f"a {key} of the impressions, {impressions[key][0]!r} for instance",
            found=f"others alone, {table[key][0]!r} for instance",
            advice=f"is {key} the right column in both? --map {key}=COLUMN names it",
        )


def _declaration(guess: Guess) -> DeclaredFeature:
    """Declare a column for schema.toml; a left-out one is declared as if the reason for leaving it out did not hold."""
    return DeclaredFeature(guess.column, guess.group, guess.kind or Kind.SINGLE)


def _with_values(table: pl.DataFrame, guesses: Sequence[Guess], group: Group) -> pl.DataFrame:
    return table.with_columns(
        guess.values.alias(guess.column) for guess in guesses if guess.group is group and guess.values is not None
    )


def _show(console: Console, out: Path, guesses: Sequence[Guess], logs: _Logs) -> None:
    table = Table()
    for heading in ("column", "of", "kind", "why"):
        table.add_column(heading)
    for guess in guesses:
        table.add_row(escape(guess.column), guess.group, guess.kind or "-", escape(guess.reason))
    console.print(table)
    if any(guess.group is Group.CONTEXT and guess.kind is not None for guess in guesses):
        console.print(
            "Context features come with every request: leave out what is not known before an ad is shown, with "
            "--feature COLUMN=none.",
            highlight=False,
        )
    for hint in logs.hints:
        console.print(f"[yellow]Look:[/] {escape(hint)}", highlight=False)
    impressions, behaviours = logs.impressions, logs.behaviours
    share_clicked = impressions["clicked"].sum() / len(impressions)
    console.print(
        f"{len(impressions):,} impressions of {impressions['user_id'].n_unique():,} users and "
        f"{impressions['item_id'].n_unique():,} items, {share_clicked:.2%} clicked; behaviours are "
        + ("the clicked impressions." if behaviours is None else f"{len(behaviours):,} rows of their own."),
        highlight=False,
    )
    console.print(
        f"Dataset in {out}. Change what was guessed with --feature, or in {out / 'schema.toml'}.", highlight=False
    )
    console.print(f"Next: python -m training train --data {out} --out bundles/{out.resolve().name}", highlight=False)
