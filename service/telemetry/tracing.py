"""Traces of ranking requests by OpenTelemetry, an option: what sends them is imported when it is switched on."""

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dinrank.service.telemetry.spans import Tracing

HOW_TO_INSTALL = "pip install 'dinrank[tracing]'"


class TracingUnavailable(Exception):
    """A trace endpoint is set, and what would send traces there is not installed."""


def open_tracing(endpoint: str) -> "AbstractContextManager[Tracing]":
    """Spans go to `endpoint` as long as the block.

    Args:
        endpoint: a collector's URL for traces, OTLP over HTTP.

    Raises:
        TracingUnavailable: at once, not first when the block is entered.
    """
    require_tracing()
    from dinrank.service.telemetry.spans import opened

    return opened(endpoint)


def require_tracing() -> None:
    """Raises: TracingUnavailable, which says what to install."""
    try:
        import dinrank.service.telemetry.spans  # noqa: F401
    except ImportError as exc:
        raise TracingUnavailable(
            f"DINRANK_TRACE_ENDPOINT is set and OpenTelemetry is not installed ({exc}): {HOW_TO_INSTALL}, or leave the "
            "setting empty"
        ) from exc
