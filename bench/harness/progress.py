"""Progress bars of long measurements."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

_DRAWN_PER_SECOND = 1  # drawing more often would disturb the measurement


class _Throughput(ProgressColumn):
    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed or 0.0
        slow = 0.0 < speed < 1.0
        return Text(f"{60 * speed:,.1f} {self._unit}/min" if slow else f"{speed:,.0f} {self._unit}/s")


@contextmanager
def progress_bar(console: Console, what: str, *, total: float, unit: str) -> Iterator[Callable[[float], None]]:
    """Show a bar with throughput and time left, on a terminal only; yield a function to call with the work done.

    Nothing else may draw on the console meanwhile; printing lines is fine.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:3.0f}%"), _Throughput(unit))
    with Progress(
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        refresh_per_second=_DRAWN_PER_SECOND,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda done: progress.advance(task, done)
