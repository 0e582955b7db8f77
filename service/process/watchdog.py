"""Watchdog of a worker: one that does not move ends, so that it is replaced."""

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
    """End this process with code 1 when the running event loop does not move for `stuck_after_ms`, or when a run that
    was told to end goes on for as long.

    Python's faulthandler does it: it needs neither the loop nor the interpreter's lock, and writes to standard error
    where every thread stands.
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
