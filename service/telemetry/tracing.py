"""Optional OpenTelemetry traces of ranking requests: the exporter is imported only if tracing is on."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinrank.service.telemetry.spans import Tracing

HOW_TO_INSTALL = "pip install 'dinrank[tracing]'"


class TracingUnavailable(Exception):
    """A trace endpoint is configured, but OpenTelemetry is not installed."""


def open_tracing(endpoint: str) -> "AbstractContextManager[Tracing]":
    """Send spans to `endpoint` during the block.

    Args:
        endpoint: a collector's URL for traces, OTLP over HTTP.

    Raises:
        TracingUnavailable: at the call, not only when the block is entered.
    """
    require_tracing()
    from dinrank.service.telemetry.spans import opened

    return opened(endpoint)


def require_tracing() -> None:
    """Raises: TracingUnavailable; the message says what to install."""
    try:
        import dinrank.service.telemetry.spans  # noqa: F401
    except ImportError as exc:
        raise TracingUnavailable(
            f"DINRANK_TRACE_ENDPOINT is set and OpenTelemetry is not installed ({exc}): {HOW_TO_INSTALL}, or leave the "
            "setting empty"
        ) from exc
