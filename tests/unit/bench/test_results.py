"""The figures from runs whose seconds are known, and the turns that make them."""

import math
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from bench.serving.__main__ import app as serving_app
from bench.throughput.results import Run, constant_loss, summarise
from bench.throughput.setting import Setting
from bench.throughput.worker import Measured, Mode, measure
from bench.training_throughput import WorkerFailed, app, started, take_turns


def runs_of(name: str, mode: Mode, seconds: Sequence[float]) -> list[Run]:
    return [Run(name, mode, round_, 100, Measured(s, 2 * s, loss=s)) for round_, s in enumerate(seconds, start=1)]


def test_a_figure_is_the_median_of_the_rounds() -> None:
    runs = [
        *runs_of("ours", Mode.LOOP, [1.0, 2.0, 50.0]),
        *runs_of("ours", Mode.STEP, [1.0]),
        *runs_of("theirs", Mode.LOOP, [5.0, 4.0, 0.5]),
        *runs_of("theirs", Mode.STEP, [4.0]),
    ]
    summary = summarise(runs, "ours")
    assert summary["ours"]["loop"] == {
        "samples_per_second": 50.0,
        "lowest": 2.0,
        "highest": 100.0,
        "samples_per_cpu_second": 25.0,
        "ours_times_as_fast": 1.0,
        "last_loss": 50.0,
    }
    assert summary["theirs"]["loop"]["ours_times_as_fast"] == 2.0
    assert summary["theirs"]["step"]["ours_times_as_fast"] == 4.0


def test_a_constant_has_the_entropy_of_the_clicks() -> None:
    assert constant_loss(np.array([1, 0, 1, 0])) == pytest.approx(math.log(2))
    assert constant_loss(np.array([1, 0, 0, 0])) == pytest.approx(-(math.log(0.25) + 3 * math.log(0.75)) / 4)


class Recorded:
    """Stands where a worker stands and notes what it is told."""

    def __init__(self, name: str, told: list[tuple[str, str, int]]) -> None:
        self.name = name
        self._told = told

    def run(self, mode: Mode, num_batches: int) -> Measured:
        self._told.append((self.name, mode.value, num_batches))
        return Measured(seconds=2.0, cpu_seconds=2.0, loss=0.5)


def test_implementations_take_turns_and_the_warm_up_is_not_counted() -> None:
    told: list[tuple[str, str, int]] = []
    runs = take_turns([Recorded("A", told), Recorded("B", told)], rounds=2, batches=5, warm_up=3, batch_size=10)
    once = [("A", "loop"), ("B", "loop"), ("A", "step"), ("B", "step")]
    assert told == [(name, mode, number) for number in (3, 5, 5) for name, mode in once]
    assert [(run.implementation, run.mode) for run in runs] == 2 * once
    assert {run.samples_per_second for run in runs} == {25.0}


class Counting:
    """An implementation whose batches are numbers and whose losses are the batches."""

    def __init__(self) -> None:
        self._next = 0

    def loop(self, num_batches: int) -> float:
        return sum(self.prepare(num_batches)) / num_batches

    def prepare(self, num_batches: int) -> list[int]:
        self._next += num_batches
        return list(range(self._next - num_batches, self._next))

    def step(self, batch: int) -> float:
        return batch


def test_both_modes_go_through_the_rows_once() -> None:
    counting = Counting()
    losses = [measure(counting, mode, 3).loss for mode in (Mode.LOOP, Mode.STEP, Mode.LOOP)]
    assert losses == [1.0, 4.0, 7.0]


def test_a_worker_that_ends_is_an_error_and_not_a_hang() -> None:
    setting = Setting(data="", attribute="", arrays="", batch_size=1, threads=1, fuxictr_loaders=0)
    with (
        pytest.raises(WorkerFailed, match="nobody ended with status 1"),
        started("nobody", Path(sys.executable), "no_such_module", setting),
    ):
        pass


def test_missing_environments_are_named_with_the_target_that_makes_them(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["--data", str(tmp_path), "--fuxictr-python", "absent"])
    assert result.exit_code == 2
    assert "no interpreter absent: `make bench-training` makes" in " ".join(result.output.split())


def test_the_documented_options_exist() -> None:
    text = (Path(__file__).parents[3] / "bench" / "README.md").read_text(encoding="utf-8")
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    apps = (app, serving_app)
    options = {option for each in apps for parameter in get_command(each).params for option in parameter.opts}
    assert {word for word in text.replace("`", " ").split() if word.startswith("--")} - {"--help"} <= options
