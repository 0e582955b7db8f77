"""Summary of a soak test: failures, and growth after the warm-up."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench.soak.samples import Sample, WorkerSample


def summarise(samples: Sequence[Sample]) -> dict[str, Any]:
    """Summarise; growth is the mean of the last fifth of the samples less that of the second: caches fill in the first.

    The workers are those that lived throughout; `workers_replaced` counts the others.
    """
    failures: Counter[str] = Counter()
    for sample in samples:
        failures.update(sample.failures)
    always = set.intersection(*(set(sample.workers) for sample in samples))
    ever = set.union(*(set(sample.workers) for sample in samples))
    return {
        "requests": sum(sample.requests for sample in samples),
        "failures": dict(failures),
        "degraded": sum(sample.degraded for sample in samples),
        "p50_ms": float(np.median([sample.p50_ms for sample in samples])),
        "worst_p99_ms": max(sample.p99_ms for sample in samples),
        "workers_replaced": len(ever - always),
        "redis_clients_growth": _growth([sample.redis_clients for sample in samples]),
        "workers": {pid: _of_worker([sample.workers[pid] for sample in samples]) for pid in sorted(always)},
    }


def _of_worker(found: Sequence[WorkerSample]) -> dict[str, float | None]:
    def growth(of: Callable[[WorkerSample], float]) -> float:
        return _growth([of(sample) for sample in found])

    has_pss = all(sample.pss_mb is not None for sample in found)
    return {
        "rss_growth_mb": growth(lambda sample: sample.rss_mb),
        "pss_growth_mb": growth(lambda sample: sample.pss_mb or 0.0) if has_pss else None,
        "files_growth": growth(lambda sample: sample.files),
    }


def _growth(values: Sequence[float]) -> float:
    fifth = max(1, len(values) // 5)
    return float(np.mean(values[-fifth:]) - np.mean(values[fifth : 2 * fifth] or values[:1]))
