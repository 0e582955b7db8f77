"""Progress bars of long work."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from dinrank.training.config import TrainConfig
from dinrank.training.fit.state import Evaluation


class _Throughput(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:,.0f} samples/s")


class TrainingProgress:
    """A bar over the maximum number of epochs, and a line for each look at `valid`.

    Early stopping ends before the bar does. If the output is not a terminal, only the lines are written.
    """

    def __init__(self, console: Console, config: TrainConfig, *, num_samples: int) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%"),
            _Throughput(),
            TimeElapsedColumn(),
            TextColumn("at most"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
            transient=True,
        )
        self._task = self._progress.add_task("training", total=num_samples * config.epochs)
        self._best = float("-inf")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def advance(self, samples: int) -> None:
        self._progress.advance(self._task, samples)

    def show(self, evaluation: Evaluation) -> None:
        gauc = evaluation.valid["gauc"]
        mark, self._best = (" (best)", gauc) if gauc > self._best else ("", self._best)
        self._console.print(
            f"epoch {evaluation.epoch:5.2f}  train loss {evaluation.train_loss:.4f}  "
            f"valid GAUC {gauc:.4f}  AUC {evaluation.valid['auc']:.4f}{mark}",
            highlight=False,
        )


class _PerSecond(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.finished_speed or task.speed or 0.0:,.0f} {self._unit}/s")


class RunsPerHour(ProgressColumn):
    """Throughput of work with steps of minutes."""

    def render(self, task: Task) -> Text:
        return Text(f"{3_600 * (task.finished_speed or task.speed or 0.0):,.1f} runs/h")


@contextmanager
def counted_progress(console: Console, description: str, *, unit: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a bar over `total` things; yield a function to call with the number done since its last call."""
    columns = (TextColumn(description), BarColumn(), TextColumn("{task.percentage:3.0f}%"), _PerSecond(unit))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console, transient=True) as progress:
        task = progress.add_task(unit, total=total)
        yield lambda count: progress.advance(task, count)
