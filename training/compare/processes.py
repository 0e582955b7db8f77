"""Run trainings in processes of their own, a few at a time."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dinrank.model.bundle.staging import named, write_whole
from dinrank.training.compare.planned import PlannedRun
from dinrank.training.errors import ComparisonError

_POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class Launcher:
    """Starts `python -m training train` for a run, as a user would.

    Attributes:
        threads: of torch, per run.
        lock: file descriptor inherited by every run, see `exclusive`.
    """

    data: Path
    threads: int
    lock: int

    def __call__(self, run: PlannedRun) -> subprocess.Popen[bytes]:
        write_whole(run.config_file, run.contender.config.to_toml())
        options = ["--data", self.data, "--model", run.contender.model, "--seed", run.seed, "--config", run.config_file]
        command = ["-m", "training", "train", *map(str, options), "--out", str(run.bundle), "--resume"]
        with named(run.log), run.log.open("a", encoding="utf-8") as log:  # keep the output from before an interruption
            print("$ python", *command, file=log, flush=True)
            return subprocess.Popen(
                [sys.executable, *command],
                env=os.environ | {"OMP_NUM_THREADS": str(self.threads)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                process_group=0,  # Ctrl-C reaches only this process, which then stops the others
                pass_fds=[self.lock],
            )


def execute(
    runs: Sequence[PlannedRun],
    start: Callable[[PlannedRun], subprocess.Popen[bytes]],
    *,
    jobs: int,
    on_change: Callable[[Sequence[str]], None] = lambda running: None,
) -> Generator[tuple[PlannedRun, int]]:
    """Yield each run with its exit status as it ends; at most `jobs` run at a time.

    A failed run does not affect the others. When the caller stops iterating, and on Ctrl-C and SIGTERM, the running
    ones are terminated and waited for. These signals take effect when the next run is asked for, never in between: no
    process is lost while it starts, and the caller's files are written whole.

    Args:
        on_change: called with the names of the running ones.

    Raises:
        KeyboardInterrupt: for either signal.
    """
    waiting = deque(runs)
    running: list[tuple[PlannedRun, subprocess.Popen[bytes]]] = []
    with _signals_remembered() as received:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.popleft()
                    running.append((run, start(run)))
                    on_change([run.name for run, _ in running])
                time.sleep(_POLL_S)
                for ended in [one for one in running if one[1].poll() is not None]:
                    running.remove(ended)
                    yield ended[0], ended[1].returncode
                if received:
                    raise KeyboardInterrupt
        finally:
            for _, process in running:
                process.terminate()
            for _, process in running:
                process.wait()


@contextmanager
def _signals_remembered() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM in the list, unless they were ignored when this process started."""
    received: list[int] = []
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    changed = {number: handler for number, handler in before.items() if handler is not signal.SIG_IGN}
    for number in changed:
        signal.signal(number, lambda caught, _: received.append(caught))
    try:
        yield received
    finally:
        for number, handler in changed.items():
            signal.signal(number, handler)


@contextmanager
def exclusive(folder: Path) -> Iterator[int]:
    """Lock the comparison's folder; yield the lock's file descriptor.

    The system releases it when the last process that has it ends. So if this one is killed, its orphaned runs keep
    the lock.

    Raises:
        ComparisonError: another comparison holds it.
    """
    with (folder / ".lock").open("w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise ComparisonError(
                f"another comparison, or a run that it left, writes to {folder}: "
                "wait for its end or choose another --out"
            ) from exc
        yield lock.fileno()
