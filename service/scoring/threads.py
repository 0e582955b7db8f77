"""The threads that score, and the way to them and back: in turn, in time or not at all."""

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

_LONGEST_END_S = 5.0  # for calls that go on when the block ends; a run of a graph may never end


class ScoringThreads:
    """Calls functions off the event loop, in order of arrival, within its block.

    Hands over with one queue and one wake-up of the loop. `loop.run_in_executor` has a future for each side, with a
    lock in one and callbacks in both, and takes three times the CPU time, which on a ranking is as much as its
    encoding.

    There is one place more than threads: the next request is encoded while one is scored, and those further behind have
    cost nothing yet. A place is taken until its call has ended, also where nobody waits for the call any more.

    What runs here knows whose request it works for: log lines have the request's id, spans their parent.
    """

    def __init__(self, num_threads: int) -> None:
        self._is_entered = False
        self._calls: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._num_free = num_threads + 1
        self._waiting: deque[asyncio.Future[None]] = deque()  # for a place
        # Daemons, so that a process which ends without leaving the block ends none the less.
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
        """Wait for what was begun, and for what was handed over before; but not for ever."""
        self._is_entered = False
        for _ in self._threads:
            self._calls.put(None)
        end_s = time.monotonic() + _LONGEST_END_S
        for thread in self._threads:
            thread.join(max(0.0, end_s - time.monotonic()))
        if any(thread.is_alive() for thread in self._threads):
            log_event(logging.ERROR, "scoring_not_ended", waited_s=_LONGEST_END_S)

    def place(self, caller: Caller) -> "Place":
        """A place for one call, to be entered with `async with`, which waits for it."""
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
            del call  # or it would keep a request's arrays until the next one comes


class Place:
    """One request's place, for one call. The caller's limits hold for every wait: for the place, for a thread, for the
    call.

    A call that nobody waits for any more is not begun. One that has begun goes on to its end and keeps the place.
    """

    __slots__ = ("_call", "_caller", "_threads")

    def __init__(self, threads: ScoringThreads, caller: Caller) -> None:
        self._threads = threads
        self._caller = caller
        self._call: _Call[Any] | None = None

    async def __aenter__(self) -> Self:
        """Raises: DeadlineTooShort, Overloaded: the limits came before the place."""
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
            DeadlineTooShort: the caller gave up before the end; a call that had begun goes on, and its answer is
                dropped.
            Overloaded: the call did not begin in time, and will not.
            RuntimeError: outside of the threads' block.
        """
        threads, caller = self._threads, self._caller
        if not threads._is_entered:
            raise RuntimeError("the scoring threads do not run")
        outcome: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._call = call = _Call(threads, partial(copy_context().run, function, *args), outcome)
        may_be_late = threads._num_free == 0  # else there is a thread that has nothing to do
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
            elif not turn.cancelled() and turn.exception() is None:  # the place came at the same moment
                self._threads._give_back()
            raise
        finally:
            _cancel(timers)
            caller.may_wait_s -= time.monotonic() - began_s


class _Call(Generic[R]):
    """A function on its way to a thread. Whoever takes it out decides about it: a thread, or one who withdraws it."""

    __slots__ = ("_loop", "_threads", "_work", "began_s")

    def __init__(self, threads: ScoringThreads, function: Callable[[], R], outcome: asyncio.Future[R]) -> None:
        self._threads = threads
        self._loop = outcome.get_loop()
        self._work = [(function, outcome)]  # taken out by `pop`, in which one of two threads fails
        self.began_s = 0.0

    def withdraw(self) -> None:
        """Unless it has begun, it never will, and its place is free."""
        if self._taken() is not None:
            self._threads._give_back()

    def refuse(self, error: type[ServiceError]) -> None:
        """The same, and whoever waits gets the error."""
        work = self._taken()
        if work is not None:
            self._threads._give_back()
            _fail(work[1], error)

    def carry_out(self) -> None:
        """In a thread."""
        work = self._taken()
        if work is None:
            return
        self.began_s = time.monotonic()
        function, outcome = work
        try:
            settle = partial(outcome.set_result, function())
        except BaseException as exc:  # the thread must not end by it, and whoever waits has to know
            settle = partial(outcome.set_exception, exc)
        with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            self._loop.call_soon_threadsafe(self._end, outcome, settle)
        del work, function, outcome, settle  # an error's traceback keeps this frame, which must not keep the error

    def _taken(self) -> tuple[Callable[[], R], asyncio.Future[R]] | None:
        try:
            return self._work.pop()
        except IndexError:
            return None

    def _end(self, outcome: asyncio.Future[R], settle: Callable[[], None]) -> None:
        self._threads._give_back()
        if not outcome.done():  # given up or cancelled meanwhile
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
