"""Calls go off the event loop and come back in time, whatever becomes of them, and know whose request they work for."""

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar, TypeVarTuple

import numpy as np
import pytest

from dinrank.service.errors import DeadlineTooShort, Overloaded
from dinrank.service.scoring.ranking import Caller
from dinrank.service.scoring.threads import ScoringThreads
from dinrank.service.telemetry.logs import current_request_id

Ts = TypeVarTuple("Ts")
R = TypeVar("R")
HURRY_S = 0.05
FOR_EVER_S = 30.0


async def call(threads: ScoringThreads, function: Callable[[*Ts], R], *args: *Ts, caller: Caller | None = None) -> R:
    async with threads.place(caller or Caller()) as place:
        return await place.run(function, *args)


def in_a_hurry() -> Caller:
    return Caller(gives_up_s=time.monotonic() + HURRY_S)


def impatient() -> Caller:
    return Caller(may_wait_s=HURRY_S)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(FOR_EVER_S):
        while not condition():
            await asyncio.sleep(0.001)


def test_a_thread_has_the_id_of_the_request_that_it_works_for() -> None:
    async def seen_by(request_id: str) -> tuple[str, int]:
        current_request_id.set(request_id)
        return await call(threads, lambda: (current_request_id.get(), threading.get_ident()))

    async def both() -> list[tuple[str, int]]:
        return await asyncio.gather(seen_by("r-1"), seen_by("r-2"))

    with ScoringThreads(1) as threads:
        (first, one_thread), (second, the_other) = asyncio.run(both())
    assert (first, second) == ("r-1", "r-2")
    assert one_thread == the_other != threading.get_ident()


def test_what_a_thread_raises_and_returns_comes_through() -> None:
    async def both() -> None:
        assert await call(threads, divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await call(threads, divmod, 7, 0)
        with pytest.raises(KeyboardInterrupt):  # what is no Exception ends no thread either
            await call(threads, _interrupt)
        assert await call(threads, divmod, 9, 2) == (4, 1)

    with ScoringThreads(1) as threads:
        asyncio.run(both())


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_several_threads_work_at_the_same_time() -> None:
    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(call(threads, meeting.wait) for _ in range(3))), 30)

    meeting = threading.Barrier(3)  # nobody passes before all are there
    with ScoringThreads(3) as threads:
        asyncio.run(all_of_them())


def test_the_loop_goes_on_while_a_thread_works() -> None:
    async def beside() -> bool:
        work = asyncio.create_task(call(threads, release.wait, 30))
        await asyncio.sleep(0)
        release.set()  # by the loop, which is not held up
        return await work

    release = threading.Event()
    with ScoringThreads(1) as threads:
        assert asyncio.run(beside())


def test_a_call_that_nobody_waits_for_any_more_is_left_out() -> None:
    async def cancel_the_second() -> None:
        first = asyncio.create_task(call(threads, release.wait, 30))
        second, third = (asyncio.create_task(call(threads, called.append, number)) for number in (2, 3))
        await asyncio.sleep(0)
        second.cancel()
        release.set()
        assert await first
        await third

    release, called = threading.Event(), list[int]()
    with ScoringThreads(1) as threads:
        asyncio.run(cancel_the_second())
    assert called == [3]


@pytest.mark.parametrize("outcome", ["returns", "raises"])
def test_one_who_stops_waiting_while_a_thread_works_disturbs_nobody(outcome: str) -> None:
    def work() -> None:
        began.set()
        release.wait(30)
        if outcome == "raises":
            raise ValueError

    async def cancel_it() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        waiting = asyncio.create_task(call(threads, work))
        await until(began.is_set)
        waiting.cancel()
        release.set()
        assert await call(threads, divmod, 7, 2) == (3, 1)

    began, release = threading.Event(), threading.Event()
    faults: list[dict[str, Any]] = []
    with ScoringThreads(1) as threads:
        asyncio.run(cancel_it())
    assert not faults


def test_a_loop_that_has_ended_takes_no_thread_with_it() -> None:
    async def leave() -> None:
        leaving = asyncio.create_task(call(threads, release.wait, 30))
        await asyncio.sleep(0)
        assert not leaving.done()

    async def come_back() -> tuple[int, int]:
        return await call(threads, divmod, 7, 2)

    release = threading.Event()
    with ScoringThreads(1) as threads:
        asyncio.run(leave())
        release.set()
        assert asyncio.run(come_back()) == (3, 1)


def test_leaving_the_block_waits_for_what_was_begun() -> None:
    def work() -> None:
        began.set()
        release.wait(30)
        done.append(True)

    async def begin() -> None:
        beginning = asyncio.create_task(call(threads, work))
        await until(began.is_set)
        assert not beginning.done()

    done: list[bool] = []
    began, release = threading.Event(), threading.Event()
    before = set(threading.enumerate())
    with ScoringThreads(2) as threads:
        asyncio.run(begin())
        release.set()
    assert done == [True]
    assert set(threading.enumerate()) <= before


def test_a_call_before_the_block_or_after_it_is_refused_at_once() -> None:
    async def refused() -> None:
        with pytest.raises(RuntimeError, match="do not run"):
            await call(threads, int)

    threads = ScoringThreads(1)
    asyncio.run(refused())
    with threads:
        pass
    asyncio.run(refused())


@pytest.mark.parametrize("outcome", ["returns", "raises"])
def test_nothing_of_a_call_stays_in_memory_when_it_is_over(outcome: str) -> None:
    """Without the garbage collector, which the service lets run seldom."""

    def work(array: np.ndarray) -> None:
        if outcome == "raises":
            raise ValueError(len(array))

    async def once() -> "weakref.ref[np.ndarray]":
        array = np.zeros(10)
        seen = weakref.ref(array)
        try:
            await call(threads, work, array)
        except ValueError as exc:
            del exc
        del array
        with suppress(TimeoutError):
            async with asyncio.timeout(5):
                while seen() is not None:  # the thread may be a moment behind
                    await asyncio.sleep(0.001)
        return seen

    gc.disable()
    try:
        with ScoringThreads(1) as threads:
            seen = asyncio.run(once())
            assert seen() is None
    finally:
        gc.enable()


class Crowd:
    """A thread that is kept at work until `release`, one call behind it, and one that waits for a place."""

    def __init__(self, threads: ScoringThreads) -> None:
        self.threads = threads
        self.release = threading.Event()
        self.called: list[str] = []
        self._began = threading.Event()

    async def gathered(self, *, behind: Caller, without_place: Caller) -> list[asyncio.Task[None]]:
        """At work, behind, without a place."""
        at_work = asyncio.create_task(call(self.threads, self._work))
        await until(self._began.is_set)
        return [
            at_work,
            asyncio.create_task(call(self.threads, self.called.append, "behind", caller=behind)),
            asyncio.create_task(call(self.threads, self.called.append, "without", caller=without_place)),
        ]

    def _work(self) -> None:
        self._began.set()
        self.release.wait(FOR_EVER_S)


@pytest.mark.parametrize(
    ("hasty", "error"), [(in_a_hurry, DeadlineTooShort), (impatient, Overloaded)], ids=["deadline", "longest wait"]
)
def test_whoever_waits_is_told_in_time_and_is_not_called_later(
    hasty: Callable[[], Caller], error: type[Exception]
) -> None:
    async def scenario() -> None:
        crowd = Crowd(threads)
        at_work, *waiting = await crowd.gathered(behind=hasty(), without_place=hasty())
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [error, error]
        assert not at_work.done()
        crowd.release.set()
        await at_work
        assert await call(threads, divmod, 7, 2) == (3, 1)
        assert crowd.called == []

    with ScoringThreads(1) as threads:
        asyncio.run(scenario())


def test_those_who_have_time_are_called_in_their_order() -> None:
    async def scenario() -> None:
        crowd = Crowd(threads)
        waiting = await crowd.gathered(behind=Caller(), without_place=Caller(time.monotonic() + FOR_EVER_S))
        crowd.release.set()
        await asyncio.gather(*waiting)
        assert crowd.called == ["behind", "without"]

    with ScoringThreads(1) as threads:
        asyncio.run(scenario())


def test_a_call_that_is_given_up_while_it_works_keeps_its_place() -> None:
    """So that those behind cost nothing while they can still leave."""

    async def scenario() -> None:
        began, release = threading.Event(), threading.Event()

        def work() -> None:
            began.set()
            release.wait(FOR_EVER_S)

        with pytest.raises(DeadlineTooShort):
            await call(threads, work, caller=in_a_hurry())
        assert began.is_set()
        encoded = asyncio.Event()

        async def encode_and_call() -> None:
            async with threads.place(Caller()) as place:
                encoded.set()
                await place.run(int)

        behind = asyncio.create_task(encode_and_call())
        await asyncio.wait_for(encoded.wait(), FOR_EVER_S)  # the one place beside the thread
        encoded.clear()
        with pytest.raises(Overloaded):
            await call(threads, int, caller=impatient())
        release.set()
        await behind
        await encode_and_call()

    with ScoringThreads(1) as threads:
        asyncio.run(scenario())


def test_waits_are_taken_off_what_a_request_may_wait() -> None:
    async def scenario() -> None:
        crowd = Crowd(threads)
        behind, without_place = Caller(may_wait_s=FOR_EVER_S), Caller(may_wait_s=FOR_EVER_S)
        waiting = await crowd.gathered(behind=behind, without_place=without_place)
        with pytest.raises(DeadlineTooShort):  # so some time has passed
            await call(threads, int, caller=in_a_hurry())
        crowd.release.set()
        await asyncio.gather(*waiting)
        assert 0.0 < behind.may_wait_s < FOR_EVER_S - HURRY_S / 2
        assert 0.0 < without_place.may_wait_s < FOR_EVER_S - HURRY_S / 2

    with ScoringThreads(1) as threads:
        asyncio.run(scenario())


@pytest.mark.parametrize("ends", ["cancelled", "given up"])
def test_one_who_stops_waiting_takes_no_place_along(ends: str) -> None:
    async def scenario() -> None:
        for _ in range(5):
            crowd = Crowd(threads)
            hasty = in_a_hurry() if ends == "given up" else Caller()
            at_work, *waiting = await crowd.gathered(behind=hasty, without_place=hasty)
            await asyncio.sleep(0)
            if ends == "cancelled":
                for each in waiting:
                    each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            crowd.release.set()
            await at_work
        assert await asyncio.wait_for(call(threads, divmod, 7, 2), FOR_EVER_S) == (3, 1)

    with ScoringThreads(1) as threads:
        asyncio.run(scenario())


def test_what_is_withdrawn_leaves_nothing_in_memory_while_the_threads_are_at_work() -> None:
    async def given_up() -> "weakref.ref[np.ndarray]":
        array = np.zeros(10)
        with suppress(DeadlineTooShort):
            await call(threads, len, array, caller=in_a_hurry())
        return weakref.ref(array)

    async def scenario() -> None:
        began, release = threading.Event(), threading.Event()
        at_work = asyncio.create_task(call(threads, lambda: (began.set(), release.wait(FOR_EVER_S))))
        await until(began.is_set)
        seen = await given_up()
        await asyncio.sleep(0)  # the step that gave it up is over
        assert seen() is None
        assert not at_work.done()
        release.set()
        await at_work

    gc.disable()
    try:
        with ScoringThreads(1) as threads:
            asyncio.run(scenario())
    finally:
        gc.enable()
