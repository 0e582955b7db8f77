"""Training samples per second of DIN: ours, FuxiCTR's and DeepCTR-Torch's, in one run on one machine.

    python -m bench.training_throughput --data data/ml-100k

Each implementation trains the paper's network on the same rows in the same order, in a process and an environment of
its own (`make bench-training` makes them), one at a time and in turns. Common settings are in
`bench/throughput/setting.py`, specifics in each implementation's module. bench/README.md explains the figures.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from bench.harness.progress import progress_bar
from bench.throughput.arrays import choose_impressions, read_encoded, to_arrays
from bench.throughput.results import Run, constant_loss, results_table, summarise
from bench.throughput.setting import NUM_SLOTS, SEED, Setting
from bench.throughput.worker import Measured, Mode
from dinrank.training.errors import DatasetError
from dinrank.training.report.report import describe_machine, source_commit

ROOT = Path(__file__).parents[1]
OURS = "dinrank"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


class WorkerFailed(Exception):
    """A worker ended without an answer; the reason is on its stderr."""


class Worker:
    """A running implementation, idle until told to run.

    Raises:
        WorkerFailed: it ended, at the start or while running.
    """

    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self.name = name
        self._process = process
        self.versions = self._answer()

    def run(self, mode: Mode, num_batches: int) -> Measured:
        """Train on the next batches."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # the worker has ended, so there is no answer either
            self._process.stdin.write(json.dumps({"mode": mode, "batches": num_batches}) + "\n")
            self._process.stdin.flush()
        return Measured(**self._answer())

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerFailed(f"{self.name} ended with status {self._process.wait()}; see its output above")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def started(name: str, python: Path, module: str, setting: Setting) -> Iterator[Worker]:
    """Run the implementation in `module` on the interpreter `python`; stop it on exit."""
    command = [str(python), "-m", f"bench.throughput.{module}", setting.to_json()]
    environment = os.environ | {"OMP_NUM_THREADS": str(setting.threads)}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Worker(name, process)
        finally:
            process.terminate()


def take_turns(workers: Sequence[Worker], *, rounds: int, batches: int, warm_up: int, batch_size: int) -> list[Run]:
    """Run A, B, C, A, B, C …, first each with its own input pipeline, then each with prepared batches."""
    runs = []
    num_samples = (warm_up + rounds * batches) * batch_size * len(Mode) * len(workers)
    with progress_bar(console, "training", total=num_samples, unit="samples") as advance:
        for round_, mode in ((round_, mode) for round_ in range(rounds + 1) for mode in Mode):
            num_batches = batches if round_ else warm_up  # round 0 is not counted
            for worker in workers:
                measured = worker.run(mode, num_batches)
                advance(num_batches * batch_size)
                if round_:
                    runs.append(Run(worker.name, mode, round_, num_batches * batch_size, measured))
    return runs


@app.command(epilog="Example: python -m bench.training_throughput --data data/ml-100k --rounds 7")
def main(
    data: Annotated[Path, typer.Option(help="Dataset directory.")],
    attribute: Annotated[str, typer.Option(help="Single-valued item feature beside item_id.")] = "decade",
    full_histories: Annotated[bool, typer.Option(help=f"Only rows with {NUM_SLOTS} behaviours: no padding.")] = False,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each implementation.")] = 7,
    batches: Annotated[int, typer.Option(min=1, help="Batches a turn.")] = 20,
    warm_up: Annotated[int, typer.Option(min=1, help="Batches before the first turn, not counted.")] = 10,
    batch_size: Annotated[int, typer.Option(min=2, help="Impressions a batch.")] = 1024,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 2,
    fuxictr_python: Annotated[Path, typer.Option(help="Interpreter with fuxictr.")] = Path(".bench/fuxictr/bin/python"),
    deepctr_python: Annotated[Path, typer.Option(help="Interpreter with deepctr-torch.")] = Path(
        ".bench/deepctr/bin/python"
    ),
    fuxictr_loaders: Annotated[int, typer.Option(min=0, help="Processes of FuxiCTR's data loader.")] = 0,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/training_throughput.json"),
) -> None:
    """Training samples per second of DIN: ours, FuxiCTR's and DeepCTR-Torch's, in turns on one machine."""
    implementations = {
        OURS: (Path(sys.executable), "ours"),
        "FuxiCTR": (fuxictr_python, "fuxictr_din"),
        "DeepCTR-Torch": (deepctr_python, "deepctr_din"),
    }
    for python, _ in implementations.values():
        if not python.exists():
            raise typer.BadParameter(f"no interpreter {python}: `make bench-training` makes the environments")
    machine = describe_machine()
    num_rows = batch_size * len(Mode) * (warm_up + rounds * batches)
    try:
        encoded = read_encoded(data, attribute)
        impressions = choose_impressions(encoded, num_rows, full_only=full_histories, seed=SEED)
    except (DatasetError, ValueError) as exc:
        raise typer.BadParameter(str(exc)) from exc
    arrays = to_arrays(encoded, impressions, attribute)

    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        setting = Setting(
            data=str(data.resolve()),
            attribute=attribute,
            arrays=str(Path(folder) / "arrays.npz"),
            batch_size=batch_size,
            threads=threads,
            fuxictr_loaders=fuxictr_loaders,
        )
        np.savez(setting.arrays, allow_pickle=False, **arrays)
        workers = [
            stack.enter_context(started(name, python.absolute(), module, setting))
            for name, (python, module) in implementations.items()
        ]
        runs = take_turns(workers, rounds=rounds, batches=batches, warm_up=warm_up, batch_size=batch_size)

    summary = summarise(runs, OURS)
    share_filled, constant = float(arrays["hist_length"].mean()) / NUM_SLOTS, constant_loss(arrays["clicked"])
    console.print(results_table(summary, OURS, f"training DIN on {data.name}, batch {batch_size:,}, {threads} threads"))
    console.print(
        f"{num_rows:,} rows, {share_filled:.0%} of their {NUM_SLOTS} history slots filled. The log losses are of the "
        f"last turn, on the same rows for all; a constant would have {constant:.4f}."
    )
    document = {
        "data": data.name,
        "attribute": attribute,
        "batch_size": batch_size,
        "threads": threads,
        "fuxictr_loaders": fuxictr_loaders,
        "full_histories": full_histories,
        "rounds": rounds,
        "batches": batches,
        "warm_up": warm_up,
        "share_of_slots_filled": share_filled,
        "constant_loss": constant,
        "commit": source_commit(),
        "machine": machine,
        "versions": {worker.name: worker.versions for worker in workers},
        "summary": summary,
        "runs": [asdict(run) for run in runs],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {out}")


if __name__ == "__main__":
    try:
        app()
    except WorkerFailed as exc:
        console.print(f"[red]{exc}")
        sys.exit(1)
