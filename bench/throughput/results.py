"""Summarise seconds per run."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from bench.throughput.worker import Measured, Mode


@dataclass(frozen=True, slots=True)
class Run:
    """One turn of one implementation."""

    implementation: str
    mode: Mode
    round: int
    samples: int
    measured: Measured

    @property
    def samples_per_second(self) -> float:
        return self.samples / self.measured.seconds

    @property
    def samples_per_cpu_second(self) -> float:
        return self.samples / self.measured.cpu_seconds


Summary = Mapping[str, Mapping[str, Mapping[str, float]]]


def summarise(runs: Sequence[Run], reference: str) -> Summary:
    """Return figures per implementation and mode: median, lowest and highest samples per second of the rounds, the
    median per CPU second, the speed-up of `reference` by the medians, and the log loss of the last round."""
    names = dict.fromkeys(run.implementation for run in runs)
    return {name: {mode.value: _figures(runs, name, mode, reference) for mode in Mode} for name in names}


def _figures(runs: Sequence[Run], name: str, mode: Mode, reference: str) -> dict[str, float]:
    chosen = _of(runs, name, mode)
    speeds = [run.samples_per_second for run in chosen]
    reference_speed = median(run.samples_per_second for run in _of(runs, reference, mode))
    return {
        "samples_per_second": median(speeds),
        "lowest": min(speeds),
        "highest": max(speeds),
        "samples_per_cpu_second": median(run.samples_per_cpu_second for run in chosen),
        f"{reference}_times_as_fast": reference_speed / median(speeds),
        "last_loss": chosen[-1].measured.loss,
    }


def _of(runs: Sequence[Run], name: str, mode: Mode) -> list[Run]:
    return [run for run in runs if run.implementation == name and run.mode is mode]


def constant_loss(clicked_N: NDArray[Any]) -> float:
    """Return the log loss of the best constant, the baseline of a network that learns nothing."""
    rate = float(np.mean(clicked_N))
    return -(rate * math.log(rate) + (1 - rate) * math.log(1 - rate))


def results_table(summary: Summary, reference: str, title: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("implementation")
    table.add_column("mode")
    for heading in ("samples/s", "lowest to highest", f"{reference} is", "log loss"):
        table.add_column(heading, justify="right")
    for mode in Mode:
        table.add_section()
        for name, modes in summary.items():
            figures = modes[mode.value]
            table.add_row(
                name,
                mode.value,
                f"{figures['samples_per_second']:,.0f}",
                f"{figures['lowest']:,.0f} to {figures['highest']:,.0f}",
                f"{figures[f'{reference}_times_as_fast']:.2f} ×" if name != reference else "",
                f"{figures['last_loss']:.4f}",
            )
    return table
