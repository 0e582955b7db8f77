"""Steady, bounded load: several callers, each with its own connection and a fixed pace."""

import http.client
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

from bench.harness.processes import connect
from bench.harness.traffic import bodies

NUMS_BEHAVIOURS = (0, 1, 10, 50, 200, 1_000)
NUMS_CANDIDATES = (1, 20, 100, 300)
_NEW_AD = b"new-00000000"  # placeholder in every body for a new ad
_JSON = {"Content-Type": "application/json"}


def changing_bodies() -> list[bytes]:
    """Make bodies with histories and candidates of every length, known and new users, and one new ad each."""
    found = []
    for num_behaviours, num_candidates in itertools.product(NUMS_BEHAVIOURS, NUMS_CANDIDATES):
        for body in bodies(num_behaviours, num_candidates):
            request = json.loads(body)
            request["candidates"].append({"ad_id": _NEW_AD.decode(), "bid": 1.0})
            found.append(json.dumps(request).encode())
    return found


@dataclass
class Window:
    """Requests since the last sample."""

    milliseconds: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    degraded: int = 0


class SteadyLoad:
    """Counts its callers' results. A caller that falls behind skips ahead: load never piles up."""

    def __init__(self, port: int, *, per_second: float, callers: int) -> None:
        self._port = port
        self._interval_s = callers / per_second
        self._bodies = changing_bodies()
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._window = Window()
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=self._call, daemon=True) for _ in range(callers)]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._ends.set()
            for thread in self._threads:
                thread.join()

    def taken_window(self) -> Window:
        """Return the results since the last call."""
        with self._lock:
            window, self._window = self._window, Window()
        return window

    def _call(self) -> None:
        connection = connect(self._port)
        while not self._ends.is_set():
            started = time.perf_counter()
            kind, is_degraded = self._sent(connection, next(self._numbers))
            taken_s = time.perf_counter() - started
            with self._lock:
                self._window.milliseconds.append(1e3 * taken_s)
                self._window.degraded += is_degraded
                if kind:
                    self._window.failures[kind] += 1
            self._ends.wait(max(0.0, self._interval_s - taken_s))
        connection.close()

    def _sent(self, connection: http.client.HTTPConnection, number: int) -> tuple[str, bool]:
        """Send a request; return the kind of failure, empty for none, and whether the answer was degraded."""
        # A stride coprime to the number of bodies: neighbours differ, and all get a turn.
        body = self._bodies[number * 7919 % len(self._bodies)].replace(_NEW_AD, b"new-%08d" % number)
        try:
            connection.request("POST", "/rank", body, _JSON)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException) as exc:
            connection.close()  # the next request opens it again
            return type(exc).__name__, False
        if response.status != HTTPStatus.OK:
            return str(response.status), False
        return "", b'"degraded":[]' not in answer
