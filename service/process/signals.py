"""What a worker process has to do with the process that started it: signals, and the last bundle that was good."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dinrank.service.telemetry.logs import log_event

# Set by the supervising process; absent in a service of one worker. A forked worker's parent is the fork server.
SUPERVISOR_PID_VARIABLE = "DINRANK_SUPERVISOR_PID"


@contextmanager
def on_hangup(call: Callable[[], None]) -> Iterator[None]:
    """Have the running event loop call a function for every SIGHUP that this process gets in the block."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, call)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


@contextmanager
def ending_with_supervisor() -> Iterator[None]:
    """Have this process get SIGTERM when the supervising process ends, however it ends; alone, do nothing.

    Otherwise workers whose supervisor was killed would keep the port, and nobody would replace them.
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
    """Send SIGHUP to the supervising process, which passes it on to all workers; alone, do nothing."""
    if (supervisor := os.environ.get(SUPERVISOR_PID_VARIABLE)) is not None:
        os.kill(int(supervisor), signal.SIGHUP)
