"""A request's spans: one for the whole of it, below the caller's, and one for each stage."""

import importlib.metadata
import logging
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_SERVICE_NAME
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from dinrank.service.telemetry.logs import log_event

_W3C = TraceContextTextMapPropagator()

_SERVER_ERROR = 500


class Tracing:
    """Makes spans. What is current is kept by context, so a thread that works for a request needs a copy of its."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """The span of a request, a child of the one that the caller names in `traceparent`, if it names one.

        Whether it is recorded follows the caller's decision; without one, the variable OTEL_TRACES_SAMPLER's.
        """
        with self._tracer.start_as_current_span(
            name,
            context=_W3C.extract(headers),
            kind=SpanKind.SERVER,
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            yield span

    @contextmanager
    def span(self, stage: str) -> Iterator[None]:
        """The span of a stage; one that raises is marked with the exception's class, without its text."""
        with self._tracer.start_as_current_span(stage, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as exc:
                _mark_failed(span, type(exc).__name__)
                raise


def describe(span: Span, facts: Mapping[str, str | int], *, status: int | None) -> None:
    """Write down how a request went. What was the caller's fault is no failure of the span.

    Args:
        status: of the answer; None when there was none.
    """
    span.set_attributes({**facts, **({} if status is None else {"http.response.status_code": status})})
    if status is not None and status >= _SERVER_ERROR:
        _mark_failed(span, str(status))


def _mark_failed(span: Span, kind: str) -> None:
    span.set_attribute("error.type", kind)
    span.set_status(Status(StatusCode.ERROR))


@contextmanager
def opened(endpoint: str) -> Iterator[Tracing]:
    """See `dinrank.service.telemetry.tracing.open_tracing`."""
    with sent_to(endpoint) as tracer:
        yield Tracing(tracer)


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
