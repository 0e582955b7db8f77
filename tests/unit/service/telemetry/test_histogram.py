"""A histogram that takes many values at once, beside the library's own, which takes them one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, disable_created_metrics, generate_latest

from dinrank.service.telemetry.histogram import BulkHistogram

BOUNDS = (0.001, 0.01, 0.1, 0.5)

VALUES = st.one_of(st.sampled_from(BOUNDS), st.floats(0.0, 1.0))  # on the bounds too


def exposed(registry: CollectorRegistry) -> list[str]:
    """Without the sum, whose last digits depend on the order of addition."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_sum{" not in line]


def total(registry: CollectorRegistry) -> float | None:
    return registry.get_sample_value("ctr_sum", {"model": "a"})


@given(requests=st.lists(st.lists(VALUES, min_size=1, max_size=20), max_size=5))
def test_it_shows_what_observing_one_by_one_shows(requests: list[list[float]]) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    bulk = BulkHistogram("ctr", "Predicted.", ["model"], buckets=BOUNDS, registry=ours).labels("a")
    plain = Histogram("ctr", "Predicted.", ["model"], buckets=BOUNDS, registry=theirs).labels("a")
    for values in requests:
        bulk.observe_all(np.array(values))
        for value in values:
            plain.observe(value)
    assert exposed(ours) == exposed(theirs)
    assert total(ours) == pytest.approx(total(theirs))


def test_the_mean_of_what_was_observed_is_sum_by_count() -> None:
    registry = CollectorRegistry()
    histogram = BulkHistogram("ctr", "Predicted.", buckets=BOUNDS, registry=registry).labels()
    histogram.observe_all(np.array([0.25, 0.75], dtype=np.float32))
    histogram.observe_all(np.array([0.5], dtype=np.float32))
    assert registry.get_sample_value("ctr_sum") == 1.5
    assert registry.get_sample_value("ctr_count") == 3
