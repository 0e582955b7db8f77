"""Cost of a training step as the embedding table grows: it should depend only on the rows of its batch.

    python -m bench.embedding_table

Trains on synthetic batches of one size with the same number of distinct items, whatever the table's size:
forward, backward, both optimisers, the average of recent weights and, with --l2, plain L2. The base model does little
but look up and update, so it shows the table's share best; --model takes any other network. No data set is
needed. A table takes four times its size, with its average and Adam's two moments.
"""

import itertools
import time
from typing import Annotated

import numpy as np
import psutil
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch.nn import functional as F

from bench.harness.progress import progress_bar
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import FIRST_ID
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.training.config import TrainConfig
from dinrank.training.fit.state import TrainingState

BATCH, NUM_BEHAVIOURS, NUM_ITEMS = 1024, 50, 8_000  # impressions, behaviours of each, distinct items
NUM_ROWS = [10_000, 1_000_000, 10_000_000]
BLOCK = 10  # steps of one table per turn, as many as between two updates of the average

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


# Legend: U = impressions of the batch, C = 1 candidate each, T = behaviours, I = distinct items.
def batch(num_rows: int, rng: np.random.Generator) -> tuple[NetworkInputs, torch.Tensor]:
    """Draw items uniformly from the whole table, which is hard on caches; real logs repeat the popular ones."""
    ids_I = FIRST_ID + np.sort(rng.choice(num_rows - FIRST_ID, NUM_ITEMS, replace=False))
    inputs = NetworkInputs(
        items={ITEM_ID: torch.from_numpy(ids_I)},
        candidates_UC=torch.from_numpy(rng.integers(0, NUM_ITEMS, (BATCH, 1))),
        behaviours_UT=torch.from_numpy(rng.integers(0, NUM_ITEMS, (BATCH, NUM_BEHAVIOURS))),
        is_real_UT=torch.ones((BATCH, NUM_BEHAVIOURS), dtype=torch.bool),
        request={},
    )
    return inputs, torch.from_numpy(rng.integers(0, 2, (BATCH, 1)).astype(np.float32))


class Steps:
    """Trains with a table of `num_rows` rows, as `dinrank.training.fit.loop` does, and times each step."""

    def __init__(self, model: NetworkName, num_rows: int, config: TrainConfig) -> None:
        schema = FeatureSchema(
            features=(Feature(ITEM_ID, Group.ITEM, Kind.SINGLE, num_indices=num_rows),), max_behaviours=NUM_BEHAVIOURS
        )
        before = _resident_bytes()
        self.num_rows = num_rows
        self.rng = np.random.default_rng(0)
        self.network = build_network(model, schema, config.network).train()
        self.state = TrainingState(self.network, np.arange(BATCH), config, self.rng)
        self.milliseconds: list[float] = []
        self.run_block()  # unmeasured: memory is mapped at first use
        self.milliseconds.clear()
        self.megabytes = (_resident_bytes() - before) / 1e6

    def run_block(self) -> None:
        for _ in range(BLOCK):
            inputs, clicked_UC = batch(self.num_rows, self.rng)
            started = time.perf_counter()
            loss = F.binary_cross_entropy_with_logits(self.network(inputs).logit_UC, clicked_UC)
            self.state.optimisers.step(loss)
            self.state.averaged.after_step()
            self.milliseconds.append(1e3 * (time.perf_counter() - started))

    def look(self) -> float:
        """Return the milliseconds that a look at `valid` costs up front: the pass over the whole table."""
        started = time.perf_counter()
        self.state.averaged.before_look()
        return 1e3 * (time.perf_counter() - started)


@app.command(epilog="Example: python -m bench.embedding_table --rows 100000 --rows 1000000 --l2 0.1")
def main(
    model: Annotated[NetworkName, typer.Option(help="Network to train.")] = NetworkName.BASE,
    rows: Annotated[list[int], typer.Option(help="Rows of a table; give it once per table.")] = NUM_ROWS,
    blocks: Annotated[int, typer.Option(min=1, help=f"Blocks of {BLOCK} measured steps per table.")] = 5,
    embedding_dim: Annotated[int, typer.Option(min=1, help="Width of a row.")] = 16,
    l2: Annotated[float, typer.Option(min=0.0, help="Plain L2, which applies to every row at every step.")] = 0.0,
    threads: Annotated[int, typer.Option(min=1, help="Threads of torch.")] = 1,
) -> None:
    """Cost of a training step, in milliseconds, as the embedding table grows, and of a look at `valid`."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    config = TrainConfig(network=NetworkConfig(embedding_dim=embedding_dim), l2=l2)
    console = Console()
    with console.status("filling the tables"):
        tables = [Steps(model, num_rows, config) for num_rows in rows]
    with progress_bar(console, "training", total=blocks * len(tables) * BLOCK, unit="steps") as advance:
        for _, table in itertools.product(range(blocks), tables):
            table.run_block()
            advance(BLOCK)
    shown = Table("rows", "p50 ms (ratio)", "mean ms (ratio)", "max ms", "MB", "look ms")
    first = np.array(tables[0].milliseconds)
    for table in tables:
        taken = np.array(table.milliseconds)
        shown.add_row(
            f"{table.num_rows:,}",
            f"{np.median(taken):.1f} ({np.median(taken) / np.median(first):.2f})",
            f"{taken.mean():.1f} ({taken.mean() / first.mean():.2f})",
            f"{taken.max():.1f}",
            f"{table.megabytes:,.0f}",
            f"{table.look():.1f}",
        )
    console.print(shown)
    console.print(f"{model}, {len(first)} steps each, batch {BATCH}, {threads} thread(s), torch {torch.__version__}")


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)


if __name__ == "__main__":
    app()
