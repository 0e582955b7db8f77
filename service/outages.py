"""What the operator is told when the feature store is left alone, and when it is asked again."""

import logging

from service.settings import Settings
from service.store.breaker import Breaker
from service.telemetry import Telemetry, log_event

_ONLY_PART = "redis"


def open_breaker(settings: Settings, telemetry: Telemetry) -> Breaker:
    """A breaker that moves its gauge and writes a line whenever it opens or closes.

    Lines name the node of a cluster, where it is one.
    """
    open_parts: set[str] = set()
    telemetry.breaker_open.set(0)

    def announce(part: str, is_open: bool, reason: str) -> None:
        if is_open:
            open_parts.add(part)
            log_event(logging.ERROR, "breaker_opened", store=part or _ONLY_PART, error=reason)
        else:
            open_parts.discard(part)
            log_event(logging.WARNING, "breaker_closed", store=part or _ONLY_PART, reason=reason)
        telemetry.breaker_open.set(bool(open_parts))

    return Breaker(
        failures=settings.breaker_failures,
        open_s=settings.breaker_open_ms / 1_000,
        timeout_s=settings.redis_timeout_ms / 1_000,
        announce=announce,
    )
