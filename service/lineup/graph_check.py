"""Sandboxed check of a bundle's graphs: run them in a child process that can be killed, as a graph may hang or crash.

`python -m service.lineup.graph_check DIRECTORY SECONDS` is the child process; it answers with a line of JSON.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from dinrank.model.bundle.errors import BundleError, GoldenMismatch, UnsupportedFormat
from dinrank.model.bundle.files import GOLDEN_FILE, GRAPH_FILE
from dinrank.model.bundle.reader import open_verified
from dinrank.service.scoring.predictor import Predictor

_ROOT = Path(__file__).parents[3]

_LOOK_S = 0.05  # poll interval for the end of the service

_SELF_END_S = 5.0  # after the limit the child ends itself, in case its parent was killed

_LONGEST_COMPLAINT = 300  # characters of a crashed process's last line


class GraphTimedOut(BundleError):
    """The graphs did not answer the golden requests in time."""


class CheckStopped(BundleError):
    """The service is shutting down and does not need the result."""


def check_graphs(directory: Path, *, timeout_s: float, stopped: threading.Event) -> None:
    """Load the graphs of a verified bundle and score its golden requests with them, in a child process.

    Raises:
        BundleError: the graphs fail, crash, or take longer than `timeout_s`; or `stopped` was set.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "dinrank.service.lineup.graph_check", str(directory), str(timeout_s)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_ROOT), *_python_path()])},
    ) as process:
        try:
            answer, complaints = _answer_of(process, timeout_s, stopped)
        finally:
            process.kill()  # no effect if it has ended
    if process.returncode != 0:
        raise UnsupportedFormat(
            GRAPH_FILE, expected="graphs that can be run", found=_how_it_ended(process.returncode, complaints)
        )
    if (refusal := json.loads(answer)) is not None:
        _raise_again(**refusal)


def _python_path() -> list[str]:
    return [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]


def _answer_of(process: "subprocess.Popen[bytes]", timeout_s: float, stopped: threading.Event) -> tuple[bytes, bytes]:
    end_s = time.monotonic() + timeout_s
    while True:
        try:
            return process.communicate(timeout=_LOOK_S)
        except subprocess.TimeoutExpired:
            if stopped.is_set():
                raise CheckStopped(GRAPH_FILE, expected="time to run the graphs", found="the service ends") from None
            if time.monotonic() > end_s:
                raise GraphTimedOut(
                    GRAPH_FILE,
                    expected=f"answers to all golden requests within {timeout_s:g} s",
                    found="graphs that still ran, and were ended",
                ) from None


def _how_it_ended(code: int, complaints: bytes) -> str:
    by = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    last = complaints.decode(errors="replace").strip().rpartition("\n")[2]
    return f"the process that ran them ended by {by}{f': {last[:_LONGEST_COMPLAINT]}' if last else ''}"


def _raise_again(kind: str, file: str, expected: str, found: str) -> NoReturn:
    kinds = {each.__name__: each for each in BundleError.__subclasses__()}
    raise kinds[kind](file, expected=expected, found=found)


def _check(directory: Path) -> BundleError | None:
    try:
        Predictor.load(open_verified(directory))
    except BundleError as exc:
        return exc
    except Exception as exc:  # any: golden requests may hold anything
        found = " ".join(f"{type(exc).__name__}: {exc}".split())[:_LONGEST_COMPLAINT]
        return GoldenMismatch(GOLDEN_FILE, expected="requests that can be scored", found=found)
    return None


def _main(directory: str, timeout_s: str) -> None:
    # The signal's default action ends the process even inside native code.
    signal.setitimer(signal.ITIMER_REAL, float(timeout_s) + _SELF_END_S)
    refusal = _check(Path(directory))
    document = None
    if refusal is not None:
        document = {"kind": type(refusal).__name__, "file": refusal.file}
        document |= {"expected": refusal.expected, "found": refusal.found}
    sys.stdout.write(json.dumps(document))


if __name__ == "__main__":
    _main(*sys.argv[1:])
