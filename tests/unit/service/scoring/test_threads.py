"""Calls go off the event loop and come back, whatever becomes of them, and know whose request they work for."""

import asyncio
import gc
import threading
import time
import weakref
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from service.scoring.threads import ScoringThreads
from service.telemetry import current_request_id


def test_a_thread_has_the_id_of_the_request_that_it_works_for() -> None:
    async def seen_by(request_id: str) -> tuple[str, int]:
        current_request_id.set(request_id)
        return await threads.run(lambda: (current_request_id.get(), threading.get_ident()))

    async def both() -> list[tuple[str, int]]:
        return await asyncio.gather(seen_by("r-1"), seen_by("r-2"))

    with ScoringThreads(1) as threads:
        (first, one_thread), (second, the_other) = asyncio.run(both())
    assert (first, second) == ("r-1", "r-2")
    assert one_thread == the_other != threading.get_ident()


def test_what_a_thread_raises_and_returns_comes_through() -> None:
    async def both() -> None:
        assert await threads.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await threads.run(divmod, 7, 0)
        with pytest.raises(KeyboardInterrupt):  # what is no Exception ends no thread either
            await threads.run(_interrupt)
        assert await threads.run(divmod, 9, 2) == (4, 1)

    with ScoringThreads(1) as threads:
        asyncio.run(both())


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_several_threads_work_at_the_same_time() -> None:
    async def all_of_them() -> None:
        await asyncio.wait_for(asyncio.gather(*(threads.run(meeting.wait) for _ in range(3))), 30)

    meeting = threading.Barrier(3)  # nobody passes before all are there
    with ScoringThreads(3) as threads:
        asyncio.run(all_of_them())


def test_the_loop_goes_on_while_a_thread_works() -> None:
    async def beside() -> bool:
        call = threads.run(release.wait, 30)
        await asyncio.sleep(0)
        release.set()  # by the loop, which is not held up
        return await call

    release = threading.Event()
    with ScoringThreads(1) as threads:
        assert asyncio.run(beside())


def test_a_call_that_nobody_waits_for_any_more_is_left_out() -> None:
    async def cancel_the_second() -> None:
        first = threads.run(release.wait, 30)
        second, third = (threads.run(called.append, number) for number in (2, 3))
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
        call = threads.run(work)
        while not began.is_set():
            await asyncio.sleep(0.001)
        call.cancel()
        release.set()
        assert await threads.run(divmod, 7, 2) == (3, 1)

    began, release = threading.Event(), threading.Event()
    faults: list[dict[str, Any]] = []
    with ScoringThreads(1) as threads:
        asyncio.run(cancel_it())
    assert not faults


def test_a_loop_that_has_ended_takes_no_thread_with_it() -> None:
    async def leave() -> None:
        threads.run(release.wait, 30)

    async def come_back() -> tuple[int, int]:
        return await threads.run(divmod, 7, 2)

    release = threading.Event()
    with ScoringThreads(1) as threads:
        asyncio.run(leave())
        release.set()
        assert asyncio.run(come_back()) == (3, 1)


def test_leaving_the_block_waits_for_what_was_begun() -> None:
    def work() -> None:
        time.sleep(0.05)
        done.append(True)

    async def begin() -> None:
        threads.run(work)

    done: list[bool] = []
    with ScoringThreads(2) as threads:
        asyncio.run(begin())
    assert done == [True]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("scoring_")]


def test_a_call_before_the_block_or_after_it_is_refused_at_once() -> None:
    async def call() -> None:
        with pytest.raises(RuntimeError, match="do not run"):
            threads.run(int)

    threads = ScoringThreads(1)
    asyncio.run(call())
    with threads:
        pass
    asyncio.run(call())


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
            await threads.run(work, array)
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
