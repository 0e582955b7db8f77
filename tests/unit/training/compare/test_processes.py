"""Processes of the shell stand for trainings."""

import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from dinrank.model.nets.names import NetworkName
from dinrank.training.compare.contenders import Contender
from dinrank.training.compare.planned import PlannedRun
from dinrank.training.compare.processes import exclusive, execute
from dinrank.training.config import TrainConfig
from dinrank.training.errors import ComparisonError

Start = Callable[[PlannedRun], "subprocess.Popen[bytes]"]


def plan(folder: Path, *names: str) -> list[PlannedRun]:
    return [PlannedRun(Contender(name, NetworkName.LR, TrainConfig()), 0, folder) for name in names]


def shell(scripts: dict[str, str], started: list["subprocess.Popen[bytes]"]) -> Start:
    """Starts the script of a contender's name."""

    def start(run: PlannedRun) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen(["sh", "-c", scripts[run.contender.name]]))
        return started[-1]

    return start


def test_a_failed_run_is_told_and_the_others_go_on(tmp_path: Path) -> None:
    scripts = {"good": "true", "bad": "exit 3", "killed": "kill -9 $$", "last": "true"}
    ended = {run.name: status for run, status in execute(plan(tmp_path, *scripts), shell(scripts, []), jobs=2)}
    assert ended == {"good-0": 0, "bad-0": 3, "killed-0": -9, "last-0": 0}


@pytest.mark.parametrize("jobs", [1, 2])
def test_so_many_run_at_once_and_no_more(tmp_path: Path, jobs: int) -> None:
    """Each waits until `jobs` are there, which never happens if fewer run; each says how many it saw."""
    script = f"touch $$.here; while [ $(ls *.here | wc -l) -lt {jobs} ]; do sleep 0.01; done"
    seen: list[int] = []
    scripts = dict.fromkeys("abcd", f"cd {tmp_path} && {script}")
    statuses = [
        status
        for _, status in execute(
            plan(tmp_path, *scripts), shell(scripts, []), jobs=jobs, on_change=lambda names: seen.append(len(names))
        )
    ]
    assert statuses == [0, 0, 0, 0]
    assert max(seen) == jobs


def test_whoever_stops_listening_ends_what_runs(tmp_path: Path) -> None:
    started: list[subprocess.Popen[bytes]] = []
    scripts = {"quick": "true", "endless": "exec sleep 1000", "waiting": "true"}
    with closing(execute(plan(tmp_path, *scripts), shell(scripts, started), jobs=2)) as ended:
        assert next(ended)[0].name == "quick-0"
    assert [process.returncode for process in started] == [0, -15]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_run_starts_ends_that_run_too(tmp_path: Path, number: signal.Signals) -> None:
    before = signal.getsignal(number)
    started: list[subprocess.Popen[bytes]] = []
    start = shell({"endless": "exec sleep 1000"}, started)

    def interrupted(run: PlannedRun) -> "subprocess.Popen[bytes]":
        process = start(run)
        os.kill(os.getpid(), number)
        return process

    with pytest.raises(KeyboardInterrupt):
        list(execute(plan(tmp_path, "endless"), interrupted, jobs=1))
    assert [process.returncode for process in started] == [-15]
    assert signal.getsignal(number) is before


def test_a_second_comparison_is_refused_until_the_first_and_its_runs_have_ended(tmp_path: Path) -> None:
    with exclusive(tmp_path) as lock:
        left = subprocess.Popen(["sleep", "1000"], pass_fds=[lock])
        with pytest.raises(ComparisonError, match="another comparison, or a run that it left"), exclusive(tmp_path):
            pass
    with left:
        with pytest.raises(ComparisonError), exclusive(tmp_path):
            pass
        left.kill()
    with exclusive(tmp_path):
        pass
