"""Processes that draw requests from hypothesis and send them, one after the other."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.pool import AsyncResult
from multiprocessing.sharedctypes import Synchronized
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.caller import BadAnswer, Caller
from tests.fuzz.hostile import Hostile, requests
from tests.fuzz.wire import Manner, Target

ROUND = 2_000  # requests of one hypothesis run; it remembers all of a run
Row = tuple[str, str]  # kind of request, status
_LONGEST_PIPELINE = 6
_ONE_BY_ONE = 12  # as often as all other manners count once
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
    targets: Sequence[Target],
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
        targets: the processes take them in turn.
        on_sent: called now and then with how many more were sent.

    Returns:
        how many there were by kind and status, and what was wrong.
    """
    share = -(-count // jobs)
    until = time.monotonic() + seconds
    context = multiprocessing.get_context("spawn")
    sent = context.Value("q", 0)
    with context.Pool(jobs, initializer=_count_in, initargs=(sent,)) as pool:
        shares = [
            (targets[job % len(targets)], key, hidden, share, until, random_seed + job * 1_000_000)
            for job in range(jobs)
        ]
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


def _count(number: int) -> None:
    if _sent is not None:
        with _sent.get_lock():
            _sent.value += number


def tasks(target: Target) -> st.SearchStrategy[tuple[Manner, list[Hostile]]]:
    """Requests and the manner of sending them."""
    alone = st.tuples(st.just(Manner.ONE_BY_ONE), st.lists(requests, min_size=1, max_size=1))
    others = st.sampled_from([each for each in target.manners() if each is not Manner.ONE_BY_ONE])
    several = st.tuples(others, st.lists(requests, min_size=1, max_size=_LONGEST_PIPELINE))
    return st.integers(0, _ONE_BY_ONE).flatmap(lambda drawn: alone if drawn else several)


def call_alone(
    target: Target, key: str, hidden: tuple[str, ...], count: int, until: float, first_seed: int
) -> tuple[Counter[Row], list[str]]:
    """The same from this process, until a moment of the monotonic clock, which all processes share."""
    caller = Caller(target, key, secrets=hidden)
    statuses: Counter[Row] = Counter()
    faults: list[str] = []

    def send(task: tuple[Manner, list[Hostile]]) -> None:
        manner, several = task
        if statuses.total() >= count or time.monotonic() > until or len(faults) >= _MAX_FAULTS:
            return
        _count(len(several))
        where = "over TLS, " if target.authority else ""
        try:
            answers = caller.send_as(manner, several)
        except BadAnswer as exc:
            statuses[f"{where}{manner}", "FAULT"] += 1
            faults.append(f"{where}{manner}: {exc}")
            return
        for place, hostile in enumerate(several):
            status = str(answers[place].status) if place < len(answers) else "none"
            row = hostile.kind if manner is Manner.ONE_BY_ONE else manner
            statuses[f"{where}{row}", status] += 1

    rounds = 0
    while statuses.total() < count and time.monotonic() < until and len(faults) < _MAX_FAULTS:
        seed(first_seed + rounds)(_SILENT(given(tasks(target))(send)))()
        rounds += 1
    caller.close()
    return statuses, faults
