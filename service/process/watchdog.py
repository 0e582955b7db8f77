"""Watchdog of a worker: a stuck one exits, so that it is replaced."""

import asyncio
import faulthandler
import logging
from collections.abc import Iterator
from contextlib import contextmanager

from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.telemetry.logs import log_event

_BEATS = 10  # within the time after which a worker counts as stuck

_LONGEST_BEAT_S = 1.0


@contextmanager
def watched(run_limit: RunLimit, *, stuck_after_ms: int) -> Iterator[None]:
    """Exit with code 1 if the running event loop is blocked for `stuck_after_ms`, or if a graph run that was told to
    end goes on for as long.

    Uses Python's faulthandler, which needs neither the loop nor the GIL, and prints every thread's traceback to
    standard error.
    """
    loop = asyncio.get_running_loop()
    stuck_after_s = stuck_after_ms / 1_000
    beat_s = min(_LONGEST_BEAT_S, stuck_after_s / _BEATS)
    timer: asyncio.TimerHandle
    was_stuck = False

    def beat() -> None:
        nonlocal timer, was_stuck
        timer = loop.call_later(beat_s, beat)
        is_stuck = run_limit.is_stuck()
        if not is_stuck:
            faulthandler.dump_traceback_later(stuck_after_s, exit=True)
        elif not was_stuck:
            log_event(logging.ERROR, "worker_stuck", limit_ms=run_limit.limit_ms, ends_in_s=stuck_after_s)
        was_stuck = is_stuck

    beat()
    try:
        yield
    finally:
        timer.cancel()
        faulthandler.cancel_dump_traceback_later()
