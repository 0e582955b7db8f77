"""OpenTelemetry spans of a request: one for the whole request, a child of the caller's, and one for each stage."""

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
    """Creates spans. The current span is kept in the context, so a request's thread needs a copy of it."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    @contextmanager
    def request(self, name: str, headers: Mapping[str, str]) -> Iterator[Span]:
        """Open the span of a request, as a child of the caller's span in `traceparent`, if there is one.

        Sampling follows the caller's decision, or else the variable OTEL_TRACES_SAMPLER.
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
        """Open the span of a stage; if it raises, the span has the exception's class, without its text."""
        with self._tracer.start_as_current_span(stage, record_exception=False, set_status_on_exception=False) as span:
            try:
                yield
            except Exception as exc:
                _mark_failed(span, type(exc).__name__)
                raise


def describe(span: Span, facts: Mapping[str, str | int], *, status: int | None) -> None:
    """Record the outcome of a request. A caller's error does not mark the span as failed.

    Args:
        status: of the answer; None if there was none.
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


EXPORT_TIMEOUT_S = 5.0  # for one batch, retries included

CLOSE_TIMEOUT_S = 2.0  # for flushing at shutdown; the rest is lost

REPORT_EVERY_S = 60.0

_LIBRARY = "opentelemetry"  # the parent of all its loggers


@contextmanager
def sent_to(endpoint: str) -> Iterator[Tracer]:
    """Export spans in batches from a bounded queue, of 2,048 unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise.

    While the collector does not accept them, the oldest are dropped, and the log says so once a minute.
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
    """Shut down within a limit: the library itself waits up to half a minute for a collector that is down."""
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
        library.addHandler(logging.NullHandler())  # a leftover thread may still log


class _OncePerMinute(logging.Handler):
    """Rate limit: the library logs several lines for every failed batch; one per minute is enough."""

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
