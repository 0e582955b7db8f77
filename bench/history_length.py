"""Training cost of longer histories for DIN.

    python -m bench.history_length --data data/ml-1m-500

Trains with the newest 50, 200 and 500 behaviours of the same dataset in turns, with the default configuration and one
thread, and prints samples per second: the input pipeline and the steps, without looks at `valid`. The dataset's
`max_length` must be at least the longest length. For the benefit of longer histories, run `python -m training train`
on datasets with such a `max_length`; both are in docs/experiments.md.
"""

import dataclasses
import json
import statistics
import time
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.console import Console
from rich.table import Table

from bench.harness.progress import progress_bar
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.config import TrainConfig
from dinrank.training.data.batches import HistoryThinning, batches
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.data.encoded import encode_dataset
from dinrank.training.data.split import TRAIN
from dinrank.training.fit.loop import training_step
from dinrank.training.fit.regularisation import MiniBatchAwareL2
from dinrank.training.fit.state import TrainingState
from dinrank.training.report.report import describe_machine, source_commit

CONFIG = TrainConfig()
WARM_UP = 3  # batches
SEED = 0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class NotEnoughData(Exception):
    """There are not enough training rows for the batches asked for."""


class Training:
    """A training of DIN that resumes where its last turn ended."""

    def __init__(self, dataset: Dataset, length: int) -> None:
        data = encode_dataset(dataclasses.replace(dataset, max_behaviours=length), min_count=CONFIG.min_count)
        torch.manual_seed(SEED)
        network = build_network(NetworkName.DIN, data.encoder.schema, CONFIG.network).train()
        rng = np.random.default_rng(SEED)
        rows = rng.permutation(data.split_rows[TRAIN])
        self.mean_length = float((data.last_N - data.first_N)[rows].mean())
        self._state = TrainingState(network, rows, CONFIG, rng)
        self._regularisation = MiniBatchAwareL2(network, data, CONFIG.mini_batch_aware_l2)
        thinning = HistoryThinning(CONFIG.max_behaviour_dropout, rng)
        self._num_left = len(rows) // CONFIG.batch_size
        self._batches = batches(data, rows, CONFIG.batch_size, thinning=thinning)

    def samples_per_second(self, num_batches: int) -> float:
        """Raises: NotEnoughData, before anything is trained."""
        self._num_left -= num_batches
        if self._num_left < 0:
            raise NotEnoughData
        started_s, number = time.perf_counter(), 0
        for batch in islice(self._batches, num_batches):
            training_step(self._state, batch, CONFIG, self._regularisation)
            number += batch.clicked_UC.numel()
        return number / (time.perf_counter() - started_s)


@app.command(epilog="Example: python -m bench.history_length --data data/ml-1m-500 --length 50 --length 500")
def main(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    length: Annotated[list[int] | None, typer.Option(min=1, help="Length of histories; repeatable.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each length.")] = 5,
    num_batches: Annotated[int, typer.Option("--batches", min=1, help="Batches per turn.")] = 10,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/history_length.json"),
) -> None:
    """Training throughput of DIN by the length of histories."""
    torch.set_num_threads(1)
    console, dataset = Console(), read_dataset(data)
    lengths = length or [50, 200, 500]
    if max(lengths) > dataset.max_behaviours:
        console.print(f"error: max_length in {data}/schema.toml is {dataset.max_behaviours}; raise it")
        raise typer.Exit(2)
    trainings = {each: Training(dataset, each) for each in lengths}
    speeds: dict[int, list[float]] = {each: [] for each in lengths}
    with progress_bar(console, "training", total=rounds * len(lengths), unit="turns") as advance:
        try:
            for training in trainings.values():
                training.samples_per_second(WARM_UP)
            for _ in range(rounds):
                for each, training in trainings.items():
                    speeds[each].append(training.samples_per_second(num_batches))
                    advance(1)
        except NotEnoughData:
            console.print(f"error: {data} is too small for so many batches; take fewer --rounds or --batches")
            raise typer.Exit(2) from None
    table = Table("history length", "mean length, before thinning", "samples/s, median (lowest to highest)")
    for each, measured in speeds.items():
        said = f"{statistics.median(measured):,.0f} ({min(measured):,.0f} to {max(measured):,.0f})"
        table.add_row(str(each), f"{trainings[each].mean_length:.0f}", said)
    console.print(table)
    document = {
        "samples_per_second": speeds,
        "mean_length": {each: training.mean_length for each, training in trainings.items()},
        "batch_size": CONFIG.batch_size,
        "commit": source_commit(),
        "machine": describe_machine(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {out}")


if __name__ == "__main__":
    app()
