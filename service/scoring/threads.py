"""Scoring threads, and the hand-over to them: first in, first out, within the caller's deadline."""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, TypeVarTuple

from dinrank.service.errors import DeadlineTooShort, Overloaded, ServiceError
from dinrank.service.scoring.ranking import Caller
from dinrank.service.telemetry.logs import log_event

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

_LONGEST_END_S = 5.0  # for calls still running when the block ends; a graph run may never end


class ScoringThreads:
    """Thread pool that calls functions off the event loop, in order of arrival.

    Hands over with one queue and one wake-up of the loop. `loop.run_in_executor` has a future for each side, with a
    lock in one and callbacks in both, and takes three times the CPU time: the difference is as much as a ranking's
    encoding.

    There is one more place than threads: the next request is encoded while one is scored, and those further back have
    cost nothing yet. A place is held until its call has ended, even if nobody waits for the call any more.

    Calls run in the request's context: log lines have its id, spans their parent.
    """

    def __init__(self, num_threads: int) -> None:
        self._is_entered = False
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._num_free = num_threads + 1
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a place
        # Daemons, so that a process can exit without leaving the block.
        self._threads = [
            threading.Thread(target=self._work, name=f"scoring_{number}", daemon=True) for number in range(num_threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        self._is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wait for running and queued calls, up to a limit."""
        self._is_entered = False
        for _ in self._threads:
            self._calls.put(None)
        end_s = time.monotonic() + _LONGEST_END_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            log_event(logging.ERROR, "scoring_not_ended", waited_s=_LONGEST_END_S)

    def place(self, caller: Caller) -> "Place":
        """Return a place for one call; `async with` waits for it."""
        return Place(self, caller)

    def _take(self) -> bool:
        if self._num_free == 0:
            return False
        self._num_free -= 1
        return True

    def _give_back(self) -> None:
        while self._waiting:
            following = self._waiting.popleft()
            if not following.done():
                following.set_result(None)
                return
        self._num_free += 1

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.carry_out()
            del call  # else it would keep a request's arrays alive until the next one


class Place:
    """One request's place, for one call. The caller's limits hold for every wait: for the place, a thread, the call.

    A call that nobody waits for any more is not started. A call that has started runs to its end and keeps the place.
    """

    __slots__ = ("_call", "_caller", "_threads")

    def __init__(self, threads: ScoringThreads, caller: Caller) -> None:
        self._threads = threads
        self._caller = caller
        self._call: _Call[Any] | None = None

    async def __aenter__(self) -> Self:
        """Raises: DeadlineTooShort, Overloaded: no place was free within the limits."""
        if not self._threads._take():
            await self._wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._call is None:
            self._threads._give_back()
        else:
            self._call.withdraw()

    async def run(self, function: Callable[[*Ts], R], *args: *Ts) -> R:
        """Call the function in a thread, once. Returns what it returns.

        Raises:
            DeadlineTooShort: the caller gave up before the end; a call that had started goes on, and its result is
                dropped.
            Overloaded: the call did not start in time, and will not.
            RuntimeError: outside of the threads' block.
        """
        threads, caller = self._threads, self._caller
        if not threads._is_entered:
            raise RuntimeError("the scoring threads do not run")
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._call = call = _Call(threads, partial(copy_context().run, function, *args), outcome)
        may_be_late = threads._num_free == 0  # else a thread is idle
        threads._calls.put(call)
        try:
            if not may_be_late and caller.gives_up_s == math.inf:
                return await outcome
            return await self._in_time(call, outcome, may_be_late=may_be_late)
        finally:
            del outcome  # an error's traceback keeps this frame, which must not keep the error

    async def _in_time(self, call: "_Call[R]", outcome: asyncio.Future[R], *, may_be_late: bool) -> R:
        caller, handed_over_s = self._caller, time.monotonic()
        timers = [_timer(caller.gives_up_s - handed_over_s, _fail, outcome, DeadlineTooShort)]
        if may_be_late:
            timers.append(_timer(caller.may_wait_s, call.refuse, Overloaded))
        try:
            return await outcome
        finally:
            del outcome
            _cancel(timers)
            caller.may_wait_s -= (call.began_s or time.monotonic()) - handed_over_s

    async def _wait(self) -> None:
        waiting, caller, began_s = self._threads._waiting, self._caller, time.monotonic()
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting.append(turn)
        timers = [
            _timer(caller.gives_up_s - began_s, _fail, turn, DeadlineTooShort),
            _timer(caller.may_wait_s, _fail, turn, Overloaded),
        ]
        try:
            await turn
        except BaseException:
            if turn in waiting:
                waiting.remove(turn)
            elif not turn.cancelled() and turn.exception() is None:  # the place became free at the same moment
                self._threads._give_back()
            raise
        finally:
            _cancel(timers)
            caller.may_wait_s -= time.monotonic() - began_s


class _Call(Generic[R]):
    """A function on its way to a thread. Either a thread takes it out and runs it, or the caller withdraws it."""

    __slots__ = ("_loop", "_threads", "_work", "began_s")

    def __init__(self, threads: ScoringThreads, function: Callable[[], R], outcome: asyncio.Future[R]) -> None:
        self._threads = threads
        self._loop = outcome.get_loop()
        self._work = [(function, outcome)]  # taken out by `pop`, which succeeds for only one of two threads
        self.began_s = 0.0

    def withdraw(self) -> None:
        """Cancel the call unless it has started, and release its place."""
        if self._taken() is not None:
            self._threads._give_back()

    def refuse(self, error: type[ServiceError]) -> None:
        """Cancel the call unless it has started, release its place, and fail the waiting caller with the error."""
        work = self._taken()
        if work is not None:
            self._threads._give_back()
            _fail(work[1], error)

    def carry_out(self) -> None:
        """Run the function; called in a scoring thread."""
        work = self._taken()
        if work is None:
            return
        self.began_s = time.monotonic()
        function, outcome = work
        try:
            settle = partial(outcome.set_result, function())
        except BaseException as exc:  # must not end the thread, and must reach the waiting caller
            settle = partial(outcome.set_exception, exc)
        with suppress(RuntimeError):  # the loop is closed, and nobody waits any more
            self._loop.call_soon_threadsafe(self._end, outcome, settle)
        del work, function, outcome, settle  # an error's traceback keeps this frame, which must not keep the error

    def _taken(self) -> tuple[Callable[[], R], asyncio.Future[R]] | None:
        try:
            return self._work.pop()
        except IndexError:
            return None

    def _end(self, outcome: asyncio.Future[R], settle: Callable[[], None]) -> None:
        self._threads._give_back()
        if not outcome.done():  # timed out or cancelled meanwhile
            settle()


def _timer(delay_s: float, function: Callable[[*Ts], None], *args: *Ts) -> asyncio.TimerHandle | None:
    return None if delay_s == math.inf else asyncio.get_running_loop().call_later(delay_s, function, *args)


def _cancel(timers: Sequence[asyncio.TimerHandle | None]) -> None:
    for timer in timers:
        if timer is not None:
            timer.cancel()


def _fail(future: asyncio.Future[Any], error: type[ServiceError]) -> None:
    if not future.done():
        future.set_exception(error())
