"""Watchdog for graph runs: ends those that take too long, and reports one that cannot be ended."""

import threading
import time
from types import TracebackType
from typing import Protocol, Self

_LOOKS_PER_LIMIT = 10
_LONGEST_PAUSE_S = 0.25
_STUCK_AFTER_S = 1.0  # beyond the limit: ONNX Runtime checks for termination only between operators


class Run(Protocol):
    """ONNX Runtime's options of one run; setting `terminate` ends it."""

    terminate: bool


class RunLimit:
    """Context manager whose thread ends runs after a limit.

    ONNX Runtime checks for termination only between operators. An operator that never returns cannot be ended: the
    worker is then stuck and has to be replaced.
    """

    def __init__(self, limit_ms: int) -> None:
        self.limit_ms = limit_ms
        self._ends_s: dict[Run, float] = {}  # of each run; written to by the threads that score
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="run_limit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all runs."""
        self._closed.set()
        self._thread.join()

    def begin(self, run: Run) -> None:
        self._ends_s[run] = time.monotonic() + self.limit_ms / 1_000
        if self._closed.is_set():
            run.terminate = True

    def end(self, run: Run) -> None:
        del self._ends_s[run]

    def is_stuck(self) -> bool:
        """Return True if a run goes on although it was told to end."""
        stuck_s = time.monotonic() - _STUCK_AFTER_S
        return any(end_s < stuck_s for end_s in self._ends_s.copy().values())

    def _watch(self) -> None:
        pause_s = min(_LONGEST_PAUSE_S, self.limit_ms / 1_000 / _LOOKS_PER_LIMIT)
        while not self._closed.wait(pause_s):
            self._end_those_beyond(time.monotonic())
        self._end_those_beyond(float("inf"))

    def _end_those_beyond(self, now_s: float) -> None:
        for run, end_s in self._ends_s.copy().items():
            if end_s < now_s:
                run.terminate = True
