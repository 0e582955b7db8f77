"""What can happen to processes: killed, told to stop, replaced."""

import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.beside import beside
from tests.chaos.driver import CUT_OFF, REFUSED
from tests.chaos.fault import Fault
from tests.chaos.ground import ROOT, WORKERS, Ground, wait_until


@contextmanager
def _worker_killed(ground: Ground) -> Iterator[None]:
    """What it was answering is lost with it; another takes its place."""
    victim = ground.service.running_workers()[-1]
    os.kill(victim, signal.SIGKILL)
    yield
    wait_until(lambda: len(ground.service.running_workers()) == WORKERS, "the killed worker is replaced")
    ground.expect(victim not in ground.service.running_workers(), "the killed worker is gone")


@contextmanager
def _told_to_stop(ground: Ground) -> Iterator[None]:
    """SIGTERM, then a new start: what was sent before is answered, and what comes between is refused at once."""
    yield
    ground.service.terminate()
    ground.expect(ground.service.process.wait(30.0) == 0, "it ends with status 0")
    ground.service.forget_log()
    ground.service.start()


@contextmanager
def _publisher_killed(ground: Ground) -> Iterator[None]:
    """It writes one and another history of every user in turn, and is killed amid it, again and again."""
    for user_id, history in ground.users.histories.items():
        ground.users.others[user_id].add(tuple(reversed(history)))

    def publish_and_kill(over: threading.Event) -> None:
        while not over.is_set():
            command = [sys.executable, "-m", "tests.chaos.publisher", ground.redis_url]
            publisher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE)
            assert publisher.stdout is not None
            publisher.stdout.readline()  # it has begun
            over.wait(random.uniform(0.0, 0.2))
            publisher.kill()
            publisher.wait()
            publisher.stdout.close()

    with beside(publish_and_kill):
        yield
    ground.publish()


PROCESS_FAULTS = (
    Fault("a worker killed", _worker_killed, promised=frozenset({CUT_OFF}), quick=True),
    Fault("a publisher killed again and again", _publisher_killed),
    Fault(
        "told to stop, then started again",
        _told_to_stop,
        promised=frozenset({REFUSED}),
        lasts_s=1.0,
        settings={"DINRANK_DRAIN_MS": "1000"},
    ),
)
