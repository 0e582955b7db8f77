"""Counting that costs a request next to nothing: its numbers are noted, and counted soon after with those of others."""

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

_PERIOD_S = 0.25  # how far behind other workers' answers about this one are, when its event loop is not busy

T = TypeVar("T")


class Tally:
    """What stands between requests and their metrics.

    A number is noted by appending it to a list, by any thread. To count it at once takes prometheus_client a lock and
    objects that lie all over the memory; with twenty numbers a request that was an eighth of its CPU time outside the
    scoring.
    """

    def __init__(self) -> None:
        self._counters: dict[Counter, LateCounter] = {}
        self._histograms: dict[BulkHistogramChild, LateHistogram] = {}
        self._counting = threading.Lock()

    def counter(self, metric: Counter) -> "LateCounter":
        """The same one for the same metric, which is one without labels, or what `labels` gave."""
        return self._counters.setdefault(metric, LateCounter(metric))

    def histogram(self, metric: BulkHistogramChild) -> "LateHistogram":
        """The same one for the same metric."""
        return self._histograms.setdefault(metric, LateHistogram(metric))

    def count(self) -> None:
        """Count all that was noted until now. May be called by any thread."""
        with self._counting:
            # Copied at one go each: another thread may add those of a model that is being loaded.
            for counter in list(self._counters.values()):
                counter.count()
            for histogram in list(self._histograms.values()):
                histogram.count()

    @asynccontextmanager
    async def counted_regularly(self) -> AsyncIterator[None]:
        """Count in the running event loop as long as the block runs, and once more at its end."""
        loop = asyncio.get_running_loop()
        timer: asyncio.TimerHandle

        def count_again_and_again() -> None:
            nonlocal timer
            # First, so that an error in what follows, which the loop logs, ends nothing.
            timer = loop.call_later(_PERIOD_S, count_again_and_again)
            self.count()

        count_again_and_again()
        try:
            yield
        finally:
            timer.cancel()
            self.count()


class LateCounter:
    """A counter behind a `Tally`: `inc(amount)` notes an amount, which may not be negative."""

    __slots__ = ("_metric", "_noted", "inc")

    def __init__(self, metric: Counter) -> None:
        self._metric = metric
        self._noted: list[float] = []
        self.inc = self._noted.append

    def count(self) -> None:
        """For the tally alone, one thread at a time."""
        if noted := _taken(self._noted):
            self._metric.inc(sum(noted))


class LateHistogram:
    """A histogram behind a `Tally`: `observe(value)` notes one value, `observe_all(values)` a vector of them, [N].

    None may be NaN. A vector is kept until it is counted and may not be changed.
    """

    __slots__ = ("_metric", "_noted", "_noted_vectors", "observe", "observe_all")

    def __init__(self, metric: BulkHistogramChild) -> None:
        self._metric = metric
        self._noted: list[float] = []
        self._noted_vectors: list[NDArray[np.floating]] = []
        self.observe = self._noted.append
        self.observe_all = self._noted_vectors.append

    def count(self) -> None:
        """For the tally alone, one thread at a time."""
        if noted := _taken(self._noted):
            self._metric.observe_all(np.array(noted, dtype=np.float64))
        if vectors := _taken(self._noted_vectors):
            self._metric.observe_all(np.concatenate(vectors))


def _taken(noted: list[T]) -> list[T]:
    """What the list holds, which leaves it. What others append meanwhile stays."""
    number = len(noted)
    taken = noted[:number]
    del noted[:number]
    return taken


class StageSpans(Protocol):
    """Who is told of stages besides the metrics; see `dinrank.service.telemetry.tracing`."""

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
