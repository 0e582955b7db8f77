"""Processes that draw requests from hypothesis and send them, one after the other."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from multiprocessing.pool import AsyncResult
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.caller import BadAnswer, Caller
from tests.fuzz.hostile import Hostile, requests

ROUND = 2_000  # requests of one hypothesis run; it remembers all of a run
Row = tuple[str, str]  # kind of request, status
_LOOK_EVERY_S = 1.0
_MAX_FAULTS = 20  # of one process, which then stops
_SILENT = settings(
    max_examples=ROUND,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def call(
    port: int,
    key: str,
    hidden: tuple[str, ...],
    *,
    count: int,
    seconds: float,
    jobs: int,
    random_seed: int,
    on_sent: Callable[[int], None],
) -> tuple[Counter[Row], list[str]]:
    """Send so many requests, each process its share, or what fits into so many seconds.

    Args:
        on_sent: called now and then with how many more were sent.

    Returns:
        how many there were by kind and status, and what was wrong.
    """
    share = -(-count // jobs)
    until = time.monotonic() + seconds
    context = multiprocessing.get_context("spawn")
    sent = context.Value("q", 0)
    with context.Pool(jobs, initializer=_count_in, initargs=(sent,)) as pool:
        shares = [(port, key, hidden, share, until, random_seed + job * 1_000_000) for job in range(jobs)]
        calling = pool.starmap_async(call_alone, shares)
        _watch(calling, sent, on_sent)
        results = calling.get()
    statuses: Counter[Row] = Counter()
    for counted, _ in results:
        statuses += counted
    return statuses, [fault for _, faults in results for fault in faults]


def _watch(calling: "AsyncResult[Any]", sent: "Synchronized[int]", on_sent: Callable[[int], None]) -> None:
    seen = 0
    while not calling.ready():
        calling.wait(_LOOK_EVERY_S)
        now = sent.value
        on_sent(now - seen)
        seen = now


_sent: "Synchronized[int] | None" = None  # of all processes that call, where one watches them


def _count_in(sent: "Synchronized[int]") -> None:
    global _sent
    _sent = sent


def _count() -> None:
    if _sent is not None:
        with _sent.get_lock():
            _sent.value += 1


def call_alone(
    port: int, key: str, hidden: tuple[str, ...], count: int, until: float, first_seed: int
) -> tuple[Counter[Row], list[str]]:
    """The same from this process, until a moment of the monotonic clock, which all processes share."""
    caller = Caller(port, key, secrets=hidden)
    statuses: Counter[Row] = Counter()
    faults: list[str] = []

    def send(hostile: Hostile) -> None:
        if statuses.total() >= count or time.monotonic() > until or len(faults) >= _MAX_FAULTS:
            return
        _count()
        try:
            statuses[hostile.kind, str(caller.send(hostile).status)] += 1
        except BadAnswer as exc:
            statuses[hostile.kind, "FAULT"] += 1
            faults.append(str(exc))

    rounds = 0
    while statuses.total() < count and time.monotonic() < until and len(faults) < _MAX_FAULTS:
        seed(first_seed + rounds)(_SILENT(given(requests)(send)))()
        rounds += 1
    caller.close()
    return statuses, faults
