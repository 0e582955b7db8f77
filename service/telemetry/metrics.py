"""Prometheus metrics, each defined once.

Labels have few values, all known in advance: never an id, a path or text from a caller. Their series exist from the
start, at 0: Prometheus sees no increase in a series that begins at 1, so alerts would miss the first case.
"""

import importlib.metadata
import os
import platform
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from dinrank.service.telemetry.histogram import BulkHistogram
from dinrank.service.telemetry.processes import ProcessMetrics
from dinrank.service.telemetry.tally import Spanned, StageSpans, StageTimer, Tally

MULTIPROCESS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported

EXPOSITION_TYPE = CONTENT_TYPE_LATEST  # media type of the text format

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

_CTRS = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_COUNTS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Stage(StrEnum):
    """A part of a request whose time is measured."""

    STORE = "store"  # the round trip to Redis
    ENCODE = "encode"  # raw values to indices
    SCORE = "score"  # the ONNX Runtime run
    TOTAL = "total"  # from the first byte of the request to the last of the answer


class WeightSource(StrEnum):
    """Source of an activation weight."""

    TABLE = "table"
    COMPUTED = "computed"


class EventOutcome(StrEnum):
    """Outcome of a behaviour that was sent."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    TOO_OLD = "too_old"
    OTHER_UNIT = "other_unit"
    UNAVAILABLE = "unavailable"  # the feature store did not confirm: the caller has to send it again


class Drop(StrEnum):
    """Reason why a connection was closed without an answer."""

    HANDSHAKE = "handshake"  # the TLS handshake failed or took too long
    GAVE_WAY = "gave_way"  # all places were taken, and it was the longest idle one
    NO_PLACE = "no_place"  # all places were taken by requests, and enough callers were being told so
    NO_FILE = "no_file"  # the process or the system is out of file descriptors; the caller is accepted later


# Stages without waits, so that the CPU time of their thread is theirs alone.
_UNINTERRUPTED = (Stage.ENCODE, Stage.SCORE)


class Telemetry:
    """The metrics of one process, or of all workers together when they share a directory.

    With the variable PROMETHEUS_MULTIPROC_DIR every worker writes its numbers to that directory, and any worker can
    expose the metrics of all.
    """

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # series of the library's own, of one worker only
        self._registry = registry = CollectorRegistry()
        directory = os.environ.get(MULTIPROCESS_DIR_VARIABLE)
        self._directory = None if directory is None else Path(directory)
        self._spans: StageSpans | None = None
        self.tally = tally = Tally()
        self.requests = Counter(
            "dinrank_requests",
            "Ranking requests by outcome: ok, degraded, or the problem.",
            ["outcome"],
            registry=registry,
        )
        stage_seconds = BulkHistogram(
            "dinrank_stage_seconds",
            "Time spent per stage of a request.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        stage_cpu_seconds = Counter(
            "dinrank_stage_cpu_seconds",
            "CPU time spent in a stage, by the thread that it runs in.",
            ["stage"],
            registry=registry,
        )
        # Looked up once: finding the child of a label costs about as much as counting.
        self._timed = {
            stage: (
                tally.histogram(stage_seconds.labels(stage)),
                tally.counter(stage_cpu_seconds.labels(stage)) if stage in _UNINTERRUPTED else None,
            )
            for stage in Stage
        }
        candidates = BulkHistogram("dinrank_candidates", "Candidates per request.", buckets=_COUNTS, registry=registry)
        self.candidates = tally.histogram(candidates.labels())
        behaviours = BulkHistogram(
            "dinrank_behaviours", "Behaviours that a request was scored with.", buckets=_COUNTS, registry=registry
        )
        self.behaviours = tally.histogram(behaviours.labels())
        self.unknown_ads = tally.counter(
            Counter("dinrank_unknown_ads", "Candidates that the bundle's catalogue lacks.", registry=registry)
        )
        self.unknown_users = tally.counter(
            Counter("dinrank_unknown_users", "Requests for users that the store does not know.", registry=registry)
        )
        self.unknown_context = Counter(
            "dinrank_unknown_context",
            "Requests whose context lacks the feature, or has a value of it that the model does not know.",
            ["feature"],
            registry=registry,
        )
        self.weighed_pairs = Counter(
            "dinrank_weighed_pairs",
            "Pairs of a candidate and a behaviour by where their weight came from: the activation table, or computed.",
            ["source"],
            registry=registry,
        )
        self.rankings = Counter(
            "dinrank_rankings", "Requests that were ranked, by the model that did it.", ["version"], registry=registry
        )
        self.predicted_ctr = BulkHistogram(
            "dinrank_predicted_ctr",
            "Predicted click-through rates of all candidates that were scored, by model; their mean is sum / count.",
            ["version"],
            buckets=_CTRS,
            registry=registry,
        )
        self.shadow_rankings = Counter(
            "dinrank_shadow_rankings",
            "Rankings offered to a shadow, by outcome: compared, skipped (busy, or an answer was degraded), failed.",
            ["version", "outcome"],
            registry=registry,
        )
        self.shadow_same_winner = Counter(
            "dinrank_shadow_same_winner",
            "Compared rankings in which the shadow puts the same ad first.",
            ["version"],
            registry=registry,
        )
        self.shadow_ctr_difference = BulkHistogram(
            "dinrank_shadow_ctr_difference",
            "How far a shadow's CTR of a candidate is from that of the model that ranked, whichever is higher.",
            ["version"],
            buckets=_CTRS,
            registry=registry,
        )
        self.degraded_answers = Counter(
            "dinrank_degraded_answers", "Answers computed without a part of their input.", ["part"], registry=registry
        )
        malformed_elements = Counter(
            "dinrank_malformed_elements", "Stored values that could not be used and were left out.", registry=registry
        )
        self.malformed_elements = tally.counter(malformed_elements)
        self.store_failures = Counter(
            "dinrank_store_failures",
            "Requests that got nothing from the feature store, by cause: timeout, unreachable, refused, deadline (the "
            "caller's was shorter), breaker (open, not called).",
            ["kind"],
            registry=registry,
        )
        self.behaviour_events = Counter(
            "dinrank_behaviour_events",
            "Behaviours sent to POST /behaviours, by outcome.",
            ["outcome"],
            registry=registry,
        )
        self.breaker_open = Gauge(
            "dinrank_breaker_open",
            "1 while a worker's circuit breaker for Redis, or for a node of the cluster, is open.",
            registry=registry,
            multiprocess_mode="livemax",
        )
        self.waiting_requests = Gauge(
            "dinrank_waiting_requests",
            "Ranking requests on which no work has begun.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.turned_away = Counter(
            "dinrank_turned_away",
            "Requests and connections that were refused before a body was read, by problem.",
            ["problem"],
            registry=registry,
        )
        self._dropped = Counter(
            "dinrank_dropped_connections",
            "Connections closed without an answer, by cause: gave_way (the longest idle, evicted for a new one), "
            "handshake (of TLS: failed or too slow), no_place, no_file (too many open files: delayed until one is "
            "free).",
            ["cause"],
            registry=registry,
        )
        declare(self._dropped, Drop)
        self.model_info = Gauge(
            "dinrank_model_info",
            "Workers that serve the model, as champion, challenger or shadow; 0 for one that was served before.",
            ["name", "version", "role"],
            registry=registry,
            multiprocess_mode="livesum",  # of the workers that `forget_worker` was not called for
        )
        self._serves: dict[int, tuple[str, str, str]] = {}
        self.reloads = Counter(
            "dinrank_reloads",
            "Checks of the bundle's path that found another bundle, or were requested, by outcome.",
            ["outcome"],
            registry=registry,
        )
        build_info = Gauge(
            "dinrank_build_info",
            "1, with the versions of the service, Python and ONNX Runtime.",
            list(_versions()),
            registry=registry,
            multiprocess_mode="max",
        )
        build_info.labels(**_versions()).set(1)
        # Covers all workers, so it is separate from the registry of this worker's own counts.
        self._of_processes = CollectorRegistry()
        ProcessMetrics(directory=self._directory, registry=self._of_processes)

    def serves(self, slot: int, name: str, version: str, role: str) -> None:
        """Record that this process serves another model in a slot from now on."""
        before = self._serves.get(slot)
        self._serves[slot] = name, version, role
        self.model_info.labels(name, version, role).set(1)
        if before is not None and before not in self._serves.values():
            self.model_info.labels(*before).set(0)

    def drop(self, cause: Drop) -> None:
        self._dropped.labels(cause).inc()

    def timed(self, stage: Stage) -> AbstractContextManager[None]:
        """Time the block, even if it raises, and its CPU time for stages without waits."""
        timer = StageTimer(*self._timed[stage])
        if self._spans is None or stage is Stage.TOTAL:  # the request itself has a span
            return timer
        return Spanned(self._spans.span(stage), timer)

    def trace_stages(self, spans: StageSpans | None) -> None:
        """Start a span for every stage too; None switches this off."""
        self._spans = spans

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format; those of other workers lag by a moment."""
        self.tally.count()
        return self._of_requests() + generate_latest(self._of_processes)

    def _of_requests(self) -> bytes:
        if self._directory is None:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared, str(self._directory))  # type: ignore[no-untyped-call]  # untyped there
        return generate_latest(shared)


def declare(metric: Counter, label_values: Iterable[str]) -> None:
    """Create the series for each value of a metric's only label, so that it exists from the start."""
    for value in label_values:
        metric.labels(value)


def forget_worker(pid: int) -> None:
    """Keep the counters of a dead worker and drop its gauges. Called by the supervisor."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]  # untyped in prometheus_client


def _versions() -> Mapping[str, str]:
    return {
        "version": importlib.metadata.version("dinrank"),
        "python": platform.python_version(),
        "onnxruntime": importlib.metadata.version("onnxruntime"),
    }
