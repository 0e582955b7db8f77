"""What is noted is counted, once, whoever notes it and whenever it is counted."""

import asyncio
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from dinrank.service.telemetry.histogram import BulkHistogram
from dinrank.service.telemetry.tally import Tally

BOUNDS = (0.25, 0.5)


class Metrics:
    def __init__(self) -> None:
        self.registry, self.tally = CollectorRegistry(), Tally()
        self.metric = Counter("clicks", "Clicks.", registry=self.registry)
        self.clicks = self.tally.counter(self.metric)
        bulk = BulkHistogram("ctr", "Predicted.", buckets=BOUNDS, registry=self.registry)
        self.ctr = self.tally.histogram(bulk.labels())

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("inc"), st.integers(0, 5)),
            st.tuples(st.just("observe"), st.floats(0.0, 1.0)),
            st.tuples(st.just("observe_all"), st.lists(st.floats(0.0, 1.0), max_size=4)),
            st.tuples(st.just("count"), st.none()),
        ),
        max_size=20,
    )
)
def test_it_does_not_matter_when_it_is_counted(steps: list[tuple[str, object]]) -> None:
    metrics = Metrics()
    clicks, ctrs = 0, list[float]()
    for step, what in steps:
        match step, what:
            case "inc", int(amount):
                metrics.clicks.inc(amount)
                clicks += amount
            case "observe", float(ctr):
                metrics.ctr.observe(ctr)
                ctrs.append(ctr)
            case "observe_all", list(several):
                metrics.ctr.observe_all(np.array(several, dtype=np.float64))
                ctrs += several
            case _:
                metrics.tally.count()
    metrics.tally.count()
    assert metrics.value("clicks_total") == clicks
    assert metrics.value("ctr_count") == len(ctrs)
    assert metrics.value("ctr_sum") == pytest.approx(sum(ctrs))
    assert metrics.value("ctr_bucket", le="0.25") == sum(ctr <= 0.25 for ctr in ctrs)


def test_a_number_is_in_no_metric_before_it_is_counted() -> None:
    metrics = Metrics()
    metrics.clicks.inc(1)
    assert metrics.value("clicks_total") == 0
    metrics.tally.count()
    assert metrics.value("clicks_total") == 1


def test_a_metric_has_one_place_however_often_it_is_asked_for() -> None:
    """A model that is loaded again counts on where it was."""
    metrics = Metrics()
    assert metrics.tally.counter(metrics.metric) is metrics.clicks


def test_no_number_is_lost_or_counted_twice_among_threads() -> None:
    metrics, number = Metrics(), 20_000

    def note() -> None:
        for _ in range(number):
            metrics.clicks.inc(1)

    def count() -> None:
        while any(thread.is_alive() for thread in noting):
            metrics.tally.count()

    noting = [threading.Thread(target=note) for _ in range(3)]
    counting = [threading.Thread(target=count) for _ in range(2)]
    for thread in (*noting, *counting):
        thread.start()
    for thread in (*noting, *counting):
        thread.join()
    metrics.tally.count()
    assert metrics.value("clicks_total") == 3 * number


def test_it_counts_by_itself_while_a_loop_runs_and_at_the_end() -> None:
    async def serve() -> None:
        async with metrics.tally.counted_regularly():
            metrics.clicks.inc(1)
            async with asyncio.timeout(10):
                while metrics.value("clicks_total") == 0:
                    await asyncio.sleep(0.01)
            metrics.clicks.inc(1)

    metrics = Metrics()
    asyncio.run(serve())
    assert metrics.value("clicks_total") == 2


def test_metrics_may_be_added_while_a_thread_counts() -> None:
    """As a reload does, while somebody reads the metrics."""
    metrics = Metrics()
    by_version = Counter("rankings", "Rankings.", ["version"], registry=metrics.registry)
    is_over = threading.Event()
    faults: list[Exception] = []

    def count() -> None:
        while not is_over.is_set():
            try:
                metrics.tally.count()
            except RuntimeError as exc:
                faults.append(exc)

    counting = threading.Thread(target=count)
    counting.start()
    for version in range(2_000):
        metrics.tally.counter(by_version.labels(str(version))).inc(1)
    is_over.set()
    counting.join()
    metrics.tally.count()
    assert not faults
    assert sum(metrics.value("rankings_total", version=str(version)) or 0 for version in range(2_000)) == 2_000


def test_a_number_that_cannot_be_counted_is_told_and_ends_nothing() -> None:
    async def serve() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
        async with metrics.tally.counted_regularly():
            metrics.clicks.inc(-1)
            async with asyncio.timeout(10):
                while not faults:
                    await asyncio.sleep(0.01)
                metrics.clicks.inc(1)
                while metrics.value("clicks_total") == 0:
                    await asyncio.sleep(0.01)

    metrics, faults = Metrics(), list[Exception]()
    asyncio.run(serve())
    assert metrics.value("clicks_total") == 1
    assert [type(fault) for fault in faults] == [ValueError]
