"""Deferred counting, to keep metrics off the hot path: numbers are buffered, and counted in batches soon after."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from types import TracebackType
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from dinrank.service.telemetry.histogram import BulkHistogramChild

_PERIOD_S = 0.25  # lag of this worker's numbers as seen by other workers, when its event loop is not busy

T = TypeVar("T")


class Tally:
    """Buffer between requests and their metrics.

    Any thread notes a number by appending it to a list. Counting at once costs prometheus_client a lock and cache
    misses; with twenty numbers per request that was an eighth of its CPU time outside the scoring.
    """

    def __init__(self) -> None:
        self._counters: dict[Counter, LateCounter] = {}
        self._histograms: dict[BulkHistogramChild, LateHistogram] = {}
        self._counting = threading.Lock()

    def counter(self, metric: Counter) -> "LateCounter":
        """Return the buffer of a metric, always the same one. The metric has no labels or comes from `labels`."""
        return self._counters.setdefault(metric, LateCounter(metric))

    def histogram(self, metric: BulkHistogramChild) -> "LateHistogram":
        """Return the buffer of a metric, always the same one."""
        return self._histograms.setdefault(metric, LateHistogram(metric))

    def count(self) -> None:
        """Count all numbers noted so far. Thread-safe."""
        with self._counting:
            # Copied atomically: another thread may add the metrics of a model that is being loaded.
            for counter in list(self._counters.values()):
                counter.count()
            for histogram in list(self._histograms.values()):
                histogram.count()

    @asynccontextmanager
    async def counted_regularly(self) -> AsyncIterator[None]:
        """Count periodically in the running event loop during the block, and once more at its end."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def count_again_and_again() -> None:
            nonlocal timer
            # First, so that an error below, which the loop logs, does not end the counting.
            timer = loop.call_later(_PERIOD_S, count_again_and_again)
            self.count()

        count_again_and_again()
        try:
            yield
        finally:
            timer.cancel()
            self.count()


class LateCounter:
    """A buffered counter: `inc(amount)` notes an amount, which must not be negative."""

    __slots__ = ("_metric", "_noted", "inc")

    def __init__(self, metric: Counter) -> None:
        self._metric = metric
        self._noted: list[float] = []
        self.inc = self._noted.append

    def count(self) -> None:
        """Count the noted amounts. Only for the tally, one thread at a time."""
        if noted := _taken(self._noted):
            self._metric.inc(sum(noted))


class LateHistogram:
    """A buffered histogram: `observe(value)` notes one value, `observe_all(values)` a vector of them, [N].

    No value may be NaN. A vector is kept until it is counted and must not be changed.
    """

    __slots__ = ("_metric", "_noted", "_noted_vectors", "observe", "observe_all")

    def __init__(self, metric: BulkHistogramChild) -> None:
        self._metric = metric
        self._noted: list[float] = []
        self._noted_vectors: list[NDArray[np.floating]] = []
        self.observe = self._noted.append
        self.observe_all = self._noted_vectors.append

    def count(self) -> None:
        """Count the noted values. Only for the tally, one thread at a time."""
        if noted := _taken(self._noted):
            self._metric.observe_all(np.array(noted, dtype=np.float64))
        if vectors := _taken(self._noted_vectors):
            self._metric.observe_all(np.concatenate(vectors))


def _taken(noted: list[T]) -> list[T]:
    """Remove and return the list's elements. Elements appended meanwhile stay."""
    number = len(noted)
    taken = noted[:number]
    del noted[:number]
    return taken


class StageSpans(Protocol):
    """Observer of stages for traces; see `dinrank.service.telemetry.tracing`."""

    def span(self, stage: str) -> AbstractContextManager[None]: ...


class StageTimer:
    """Times one block, once, even if it raises.

    Args:
        cpu_seconds: None if the block waits, as other work then shares its thread's CPU time.
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
    """A span around a timer: the span includes the timer's own work, the timer excludes the span's."""

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
