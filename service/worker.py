"""What a worker process has to do with the process that started it: signals, and the last bundle that was good."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from model.bundle.errors import BundleError
from model.bundle.reader import Signatures
from service.loading import LoadedBundle, load_bundle
from service.telemetry import log_event

# Set by the supervising process; absent in a service of one worker. A forked worker's parent is the fork server.
SUPERVISOR_PID_VARIABLE = "DINRANK_SUPERVISOR_PID"
RUN_DIRECTORY_VARIABLE = "DINRANK_RUN_DIRECTORY"

DRAINING = "draining"  # in the lifespan's state, and so in every request's, once the service is about to stop

_GOOD_BUNDLE_FILE = "good-bundle"


class Slot(NamedTuple):
    """Where a served bundle comes from.

    Attributes:
        path: a directory or a link to one.
        number: 0 for the champion; challengers are numbered as they are set.
        signatures: decides whose bundles are trusted; None trusts all.
    """

    path: Path
    number: int
    signatures: Signatures | None = None


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


def have_others_reload() -> None:
    """Send SIGHUP to the supervising process, which passes it on to all workers; alone, do nothing."""
    if (supervisor := os.environ.get(SUPERVISOR_PID_VARIABLE)) is not None:
        os.kill(int(supervisor), signal.SIGHUP)


def remember_good_bundle(slot: Slot, directory: Path) -> None:
    """Leave word for workers that start later. Whoever dies amid this, or has no room, leaves the word of before."""
    if (file := _good_bundle_file(slot)) is None:
        return
    written = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        written.write_bytes(os.fsencode(directory))
        written.replace(file)
    except OSError as exc:
        log_event(logging.ERROR, "good_bundle_not_noted", bundle=directory, error=exc)


def first_bundle(slot: Slot) -> LoadedBundle:
    """The bundle that a worker starts with: the one at the slot's path, or, when that is refused, the last one that any
    worker of this service found good there. So a worker that dies is replaced even while a bad bundle lies at the path.

    Raises:
        BundleError: why the bundle at the path is refused, when there is no other.
    """
    try:
        return load_bundle(slot.path, slot.signatures)
    except BundleError as exc:
        file = _good_bundle_file(slot)
        if file is None or not file.exists():
            raise
        good = Path(os.fsdecode(file.read_bytes()))
        log_event(logging.ERROR, "bundle_refused_at_start", bundle=slot.path, instead=good, error=exc)
        return load_bundle(good, slot.signatures)


def _good_bundle_file(slot: Slot) -> Path | None:
    directory = os.environ.get(RUN_DIRECTORY_VARIABLE)
    return None if directory is None else Path(directory) / f"{_GOOD_BUNDLE_FILE}-{slot.number}"
