"""Timing one block, and, where somebody wants it, a span around it."""

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from service.tally import LateCounter, LateHistogram


class StageSpans(Protocol):
    """Who is told of stages besides the metrics; see `service.tracing`."""

    def span(self, stage: str) -> AbstractContextManager[None]: ...


class StageTimer:
    """Times one block, once, whether it ends well or not.

    Args:
        cpu_seconds: None where the block waits, so that the CPU time of its thread is not the block's alone.
    """

    __slots__ = ("_cpu_seconds", "_cpu_started", "_seconds", "_started")

    def __init__(self, seconds: LateHistogram, cpu_seconds: LateCounter | None) -> None:
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        if self._cpu_seconds is not None:
            self._cpu_started = time.thread_time()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds.observe(time.perf_counter() - self._started)
        if self._cpu_seconds is not None:
            self._cpu_seconds.inc(time.thread_time() - self._cpu_started)


class Spanned:
    """A span around a timer: it has the timer's end in it, the timer nothing of the span."""

    __slots__ = ("_span", "_timer")

    def __init__(self, span: AbstractContextManager[None], timer: StageTimer) -> None:
        self._span = span
        self._timer = timer

    def __enter__(self) -> None:
        self._span.__enter__()
        self._timer.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.__exit__(kind, exc, trace)
        self._span.__exit__(kind, exc, trace)
