"""A request's spans: one for the whole of it, below the caller's, and one for each stage."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.tracing.export import sent_to

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
    """See `service.tracing.open_tracing`."""
    with sent_to(endpoint) as tracer:
        yield Tracing(tracer)
