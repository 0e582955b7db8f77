"""A Prometheus histogram that takes hundreds of values at once."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, values
from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString


class BulkHistogram:
    """Counts values by bucket, as `prometheus_client.Histogram` does, which has no way to take more than one.

    One call for 200 values costs less than what `observe` costs for ten. The numbers lie where the library keeps its
    own, in `values.ValueClass`, so that those of several workers are added up as usual.

    Args:
        buckets: upper bounds, rising and finite; what is larger than all of them is counted too.
    """

    def __init__(self, name: str, documentation: str, *, buckets: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._bounds = np.array(buckets, dtype=np.float64)
        self._labels = [floatToGoString(bound) for bound in (*buckets, math.inf)]  # type: ignore[no-untyped-call]  # untyped there
        self._counts = [
            values.ValueClass("histogram", name, f"{name}_bucket", ("le",), (label,), documentation)
            for label in self._labels
        ]
        self._sum = values.ValueClass("histogram", name, f"{name}_sum", (), (), documentation)
        registry.register(self)

    def observe_all(self, observed: NDArray[np.floating]) -> None:
        """Count every value of a vector; none may be NaN."""
        counts = np.bincount(self._bounds.searchsorted(observed, side="left"), minlength=len(self._counts))
        for bucket, count in zip(self._counts, counts.tolist(), strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(float(observed.sum(dtype=np.float64)))

    def collect(self) -> Iterator[Metric]:
        """What `prometheus_client` asks a collector for; of one process."""
        up_to = np.cumsum([bucket.get() for bucket in self._counts]).tolist()
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(self._labels, up_to, strict=True)),
            sum_value=self._sum.get(),
        )
