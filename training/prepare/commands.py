"""python -m training prepare FORMAT: turn raw files into dataset directories."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from dinrank.model.bundle.schema import Kind

if TYPE_CHECKING:
    from dinrank.training.prepare.logs.guesses import Override

_EXAMPLES = (
    "Examples: `python -m training prepare movielens-100k data/raw/ml-100k data/ml-100k`, "
    "`python -m training prepare logs --impressions clicks.csv --map user_id=uid data/my-shop`"
)
app = typer.Typer(no_args_is_help=True, epilog=_EXAMPLES, rich_markup_mode="markdown")
console = Console()

_Raw = Annotated[Path, typer.Argument(help="Folder with the published files.")]
_Out = Annotated[Path, typer.Argument(help="Dataset directory to write.")]
_NO_FEATURE = "none"


@app.callback()
def prepare() -> None:
    """Turn your own logs, or a public data set's raw files, into a dataset directory."""


@app.command(
    "movielens-100k", epilog="Example: `python -m training prepare movielens-100k data/raw/ml-100k data/ml-100k`"
)
def movielens_100k(raw: _Raw, out: _Out) -> None:
    """MovieLens-100K, as GroupLens or RecBole publish it."""
    from dinrank.training.prepare.movielens import prepare_movielens_100k

    prepare_movielens_100k(raw, out)
    console.print(f"dataset in {out}")


@app.command("movielens-1m", epilog="Example: `python -m training prepare movielens-1m data/raw/ml-1m data/ml-1m`")
def movielens_1m(raw: _Raw, out: _Out) -> None:
    """MovieLens-1M, as GroupLens publishes it."""
    from dinrank.training.prepare.movielens import prepare_movielens_1m

    prepare_movielens_1m(raw, out)
    console.print(f"dataset in {out}")


@app.command(
    "amazon-reviews", epilog="Example: `python -m training prepare amazon-reviews data/raw/beauty data/beauty`"
)
def amazon_reviews(raw: _Raw, out: _Out) -> None:
    """A category of Amazon's reviews of 2014, with drawn negatives."""
    from dinrank.training.prepare.amazon import prepare_amazon_reviews

    prepare_amazon_reviews(raw, out)
    console.print(f"dataset in {out}")


@app.command(
    epilog="Example: `python -m training prepare logs --impressions clicks.csv --items items.csv --map user_id=uid "
    "--map clicked=label --multi 'genre:|' data/my-shop`"
)
def logs(
    out: _Out,
    impressions: Annotated[
        Path, typer.Option(help="CSV (also .gz) or Parquet: user_id, item_id, clicked, timestamp and the context.")
    ],
    items: Annotated[Path | None, typer.Option(help="The same with a row per item: item_id and attributes.")] = None,
    users: Annotated[Path | None, typer.Option(help="The same with a row per user: user_id and attributes.")] = None,
    behaviours: Annotated[
        Path | None,
        typer.Option(help="user_id, item_id, timestamp of users' behaviours; default: the clicked impressions."),
    ] = None,
    renames: Annotated[
        list[str] | None, typer.Option("--map", metavar="NAME=COLUMN", help="Name of a column in your files.")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option("--feature", metavar="COLUMN=KIND", help="single, multi, numeric, or none for no feature."),
    ] = None,
    multi: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN:SEPARATOR", help="Text with several values between separators.")
    ] = None,
    item_column: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column of the impressions that describes the item.")
    ] = None,
    user_column: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Column of the impressions that describes the user.")
    ] = None,
    context_column: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Column of the impressions that describes neither, despite its values."),
    ] = None,
    separator: Annotated[str, typer.Option(help="Field separator of a CSV.")] = ",",
    name: Annotated[str | None, typer.Option(help="Name of the data set, for reports; default: the folder's.")] = None,
) -> None:
    """Your own logs. Features and their kinds are guessed from the columns; only --impressions is required."""
    from dinrank.training.prepare.logs.command import LogOptions, prepare_logs

    options = LogOptions(
        impressions=impressions,
        items=items,
        users=users,
        behaviours=behaviours,
        renames=dict(_rename(text) for text in renames or []),
        wishes=dict([_feature(text) for text in features or []] + [_multi(text) for text in multi or []]),
        item_columns=item_column or [],
        user_columns=user_column or [],
        context_columns=context_column or [],
        separator=_one_byte(separator),
        name=name,
    )
    prepare_logs(options, out, console)


def _rename(text: str) -> tuple[str, str]:
    new, equals, old = text.partition("=")
    if not (new and equals and old):
        raise typer.BadParameter(f"{text!r} is not NAME=COLUMN; user_id=uid for instance", param_hint="--map")
    return old, new


def _feature(text: str) -> "tuple[str, Override]":
    from dinrank.training.prepare.logs.guesses import Override

    column, _, kind = text.rpartition("=")
    if not column or kind not in {*Kind, _NO_FEATURE}:
        raise typer.BadParameter(
            f"{text!r} is not COLUMN=KIND; kinds are {', '.join(Kind)} and {_NO_FEATURE}", param_hint="--feature"
        )
    return column, Override(None if kind == _NO_FEATURE else Kind(kind))


def _multi(text: str) -> "tuple[str, Override]":
    from dinrank.training.prepare.logs.guesses import Override

    column, _, separator = text.partition(":")
    if not (column and separator):
        raise typer.BadParameter(f"{text!r} is not COLUMN:SEPARATOR; 'genre:|' for instance", param_hint="--multi")
    return column, Override(Kind.MULTI, separator)


def _one_byte(separator: str) -> str:
    separator = {"\\t": "\t", "tab": "\t"}.get(separator, separator)
    if len(separator.encode()) != 1:
        raise typer.BadParameter(f"{separator!r} is not one character; a tab is 'tab'", param_hint="--separator")
    return separator
