"""The threads that score, and the way to them and back."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from service.telemetry import log_event

Ts = TypeVarTuple("Ts")
R = TypeVar("R")

_LONGEST_END_S = 5.0  # for calls that go on when the block ends; a run of a graph may never end


class ScoringThreads:
    """Calls functions off the event loop, in order of arrival, within its block.

    Hands over with one queue and one wake-up of the loop. `loop.run_in_executor` has a future for each side, with a
    lock in one and callbacks in both, and takes three times the CPU time, which on a ranking is as much as its
    encoding.

    What runs here knows whose request it works for: log lines have the request's id, spans their parent.
    """

    def __init__(self, num_threads: int) -> None:
        self.num_threads = num_threads
        self._is_entered = False
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
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

    def run(self, function: Callable[[*Ts], R], *args: *Ts) -> asyncio.Future[R]:
        """Call the function in a thread. Returns a future of what it returns or raises.

        To be called in a running event loop. A call whose future is cancelled before it has begun is left out.

        Raises:
            RuntimeError: before the block or after it.
        """
        if not self._is_entered:
            raise RuntimeError("the scoring threads do not run")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[R] = loop.create_future()
        self._calls.put(partial(_answer, loop, future, partial(copy_context().run, function, *args)))
        return future

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call()
            del call  # or it would keep a request's arrays until the next one comes


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[R], call: Callable[[], R]) -> None:
    if future.cancelled():
        return
    try:
        settle = partial(future.set_result, call())
    except BaseException as exc:  # the thread must not end by it, and whoever waits has to know
        settle = partial(future.set_exception, exc)
    with suppress(RuntimeError):  # the loop has ended, and with it whoever waited
        loop.call_soon_threadsafe(_tell, future, settle)
    del future, settle  # an error's traceback keeps this frame, which must not keep the error


def _tell(future: asyncio.Future[R], settle: Callable[[], None]) -> None:
    if not future.done():  # cancelled meanwhile
        settle()
