"""Signals between a worker and its supervisor: reload, and the end of the supervisor."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dinrank.service.telemetry.logs import log_event

# Set by the supervisor; absent with a single worker. A forked worker's parent is the fork server, not the supervisor.
SUPERVISOR_PID_VARIABLE = "DINRANK_SUPERVISOR_PID"


@contextmanager
def on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Call a function in the running event loop for every SIGHUP during the block."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def ending_with_supervisor() -> Iterator[None]:
    """Send this process SIGTERM when the supervisor ends for any reason; without a supervisor, do nothing.

    Otherwise workers of a killed supervisor would keep the port, and would not be replaced when they die.
    """
    supervisor = os.environ.get(SUPERVISOR_PID_VARIABLE)
    if supervisor is None or sys.platform != "linux":
        yield
        return
    loop = asyncio.get_running_loop()
    descriptor = os.pidfd_open(int(supervisor))  # readable once the process has ended

    def end() -> None:
        loop.remove_reader(descriptor)
        log_event(logging.ERROR, "supervisor_ended", pid=supervisor)
        os.kill(os.getpid(), signal.SIGTERM)

    loop.add_reader(descriptor, end)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def signal_reload() -> None:
    """Send SIGHUP to the supervisor, which passes it on to all workers; without a supervisor, do nothing."""
    if (supervisor := os.environ.get(SUPERVISOR_PID_VARIABLE)) is not None:
        os.kill(int(supervisor), signal.SIGHUP)
