"""Spans to a collector, from a thread of their own: no request waits for it, and no end of the service for long.

OpenTelemetry's variables hold for what is not set here: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
OTEL_TRACES_SAMPLER, OTEL_BSP_* for queue and batches, OTEL_EXPORTER_OTLP_HEADERS.
"""

import importlib.metadata
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer

from service.telemetry import log_event

EXPORT_TIMEOUT_S = 5.0  # for one batch, its repetitions included
CLOSE_TIMEOUT_S = 2.0  # for what is still to be sent when the service ends; the rest is lost
REPORT_EVERY_S = 60.0
_LIBRARY = "opentelemetry"  # the logger above all of its own


@contextmanager
def sent_to(endpoint: str) -> Iterator[Tracer]:
    """Spans are collected in a bounded queue, 2,048 unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise, and sent in batches.

    While the collector does not take them the oldest are dropped, and the log says so once a minute.
    """
    version = importlib.metadata.version("dinrank")
    name = os.environ.get(OTEL_SERVICE_NAME, "dinrank")
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name, SERVICE_VERSION: version}), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(endpoint, timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with _trouble_reported():
        try:
            yield provider.get_tracer("dinrank", version)
        finally:
            _shut_down(provider, exporter)


def _shut_down(provider: TracerProvider, exporter: OTLPSpanExporter) -> None:
    """By itself the library waits up to half a minute for a collector that is away."""
    closing = threading.Thread(target=provider.shutdown, name="traces-closing", daemon=True)
    closing.start()
    closing.join(CLOSE_TIMEOUT_S)
    if closing.is_alive():
        exporter.shutdown()  # type: ignore[no-untyped-call]  # untyped there; no further attempts


@contextmanager
def _trouble_reported() -> Iterator[None]:
    library = logging.getLogger(_LIBRARY)
    handler = _OncePerMinute(logging.WARNING)
    library.addHandler(handler)
    library.propagate = False
    try:
        yield
    finally:
        library.removeHandler(handler)
        library.addHandler(logging.NullHandler())  # a thread that was left behind may still complain


class _OncePerMinute(logging.Handler):
    """The library has several lines for every batch that is not taken; the first of a minute says it all."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._next_s = time.monotonic()
        self._num_left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if time.monotonic() < self._next_s:
            self._num_left_out += 1
            return
        self._next_s = time.monotonic() + REPORT_EVERY_S
        log_event(logging.WARNING, "traces_not_sent", error=record.getMessage(), left_out=self._num_left_out)
        self._num_left_out = 0
