"""Metrics and log lines, each defined once.

Labels take few values, all of them known beforehand: never an id, a path or a text that a caller sent.
"""

import json
import logging
import os
import time
from enum import StrEnum
from types import TracebackType

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS_DIR_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client reads it when it is imported
LOGGER_NAME = "dinrank"
EXPOSITION_TYPE = CONTENT_TYPE_LATEST  # media type of the text format

_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
_COUNTS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Stage(StrEnum):
    """A part of a request whose time is measured."""

    STORE = "store"  # the round trip to Redis
    ENCODE = "encode"  # raw values to indices
    SCORE = "score"  # the ONNX Runtime run
    TOTAL = "total"  # from the first byte of the request to the last of the answer


class WeightSource(StrEnum):
    """Where an activation weight came from."""

    TABLE = "table"
    COMPUTED = "computed"


# Without a wait in them, so that the CPU time of their thread is theirs alone.
_UNINTERRUPTED = (Stage.ENCODE, Stage.SCORE)


class Telemetry:
    """The metrics of one process, or of all workers together when they share a directory.

    With the variable PROMETHEUS_MULTIPROC_DIR every worker writes its numbers to that directory, and any worker answers
    for all of them.
    """

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "dinrank_requests",
            "Ranking requests by outcome: ok, degraded, or the problem.",
            ["outcome"],
            registry=registry,
        )
        self.stage_seconds = Histogram(
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
                self.stage_seconds.labels(stage),
                stage_cpu_seconds.labels(stage) if stage in _UNINTERRUPTED else None,
            )
            for stage in Stage
        }
        self.candidates = Histogram("dinrank_candidates", "Candidates per request.", buckets=_COUNTS, registry=registry)
        self.behaviours = Histogram(
            "dinrank_behaviours", "Behaviours that a request was scored with.", buckets=_COUNTS, registry=registry
        )
        self.unknown_ads = Counter(
            "dinrank_unknown_ads", "Candidates that the bundle's catalogue lacks.", registry=registry
        )
        self.unknown_users = Counter(
            "dinrank_unknown_users", "Requests for users of whom the store knows nothing.", registry=registry
        )
        self.weighed_pairs = Counter(
            "dinrank_weighed_pairs",
            "Pairs of a candidate and a behaviour by where their weight came from: the activation table, or computed.",
            ["source"],
            registry=registry,
        )
        self.degraded_answers = Counter(
            "dinrank_degraded_answers", "Answers computed without a part of their input.", ["part"], registry=registry
        )
        self.malformed_elements = Counter(
            "dinrank_malformed_elements", "Stored values that could not be used and were left out.", registry=registry
        )
        self.turned_away = Counter(
            "dinrank_turned_away",
            "Requests and connections that were refused before a body was read, by problem.",
            ["problem"],
            registry=registry,
        )
        self.model_info = Gauge(
            "dinrank_model_info",
            "1 for the model that is served.",
            ["name", "version"],
            registry=registry,
            multiprocess_mode="max",
        )

    def timed(self, stage: Stage) -> "StageTimer":
        """Observe how long the block takes, whether it ends well or not, and its CPU time where no other shares it."""
        return StageTimer(*self._timed[stage])

    def exposition(self) -> bytes:
        """All metrics in the Prometheus text format."""
        if MULTIPROCESS_DIR_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        shared = CollectorRegistry()
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]  # untyped in prometheus_client
        return generate_latest(shared)


class StageTimer:
    """Times one block, once."""

    __slots__ = ("_cpu_seconds", "_cpu_started", "_seconds", "_started")

    def __init__(self, seconds: Histogram, cpu_seconds: Counter | None) -> None:
        self._seconds = seconds
        self._cpu_seconds = cpu_seconds

    def __enter__(self) -> None:
        self._started = time.perf_counter()
        self._cpu_started = time.thread_time()

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._seconds.observe(time.perf_counter() - self._started)
        if self._cpu_seconds is not None:
            self._cpu_seconds.inc(time.thread_time() - self._cpu_started)


def log_event(level: int, event: str, **fields: object) -> None:
    """Write one line: the event's name and its fields as `name="value"`, line breaks and quotes escaped."""
    parts = [f"{name}={json.dumps(str(value))}" for name, value in fields.items()]
    logging.getLogger(LOGGER_NAME).log(level, "%s", " ".join([event, *parts]))
