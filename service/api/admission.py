"""Admission control: ranking requests queue here, or are shed before they cost anything. Plain ASGI middleware."""

import asyncio
import math
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dinrank.service.api.body import DISCONNECT, has_hung_up, replay
from dinrank.service.api.context import ARRIVED_S, RANK_PATH
from dinrank.service.api.problems import DEGRADED, OK, Refusal, service_problem
from dinrank.service.errors import CallerLeft, DeadlineTooShort, MalformedHeader, Overloaded
from dinrank.service.scoring.admission import Admission, Turn
from dinrank.service.scoring.ranking import Caller
from dinrank.service.telemetry.metrics import Telemetry

_ANSWERED = frozenset({OK, DEGRADED})

CALLER = "caller"  # in the scope's state: the `Caller` of a ranking request


class AdmissionControl:
    """Apply `Admission` to ranking requests.

    Sits inside BodyLimit, so that a slow upload holds no place, and outside everything that parses the body. Health
    checks and metrics bypass it.
    """

    def __init__(self, app: ASGIApp, *, admission: Admission, telemetry: Telemetry) -> None:
        self._app = app
        self._admission = admission
        self._waiting = telemetry.waiting_requests
        self._refusals = {type(exc): Refusal(RANK_PATH, exc) for exc in (Overloaded(), DeadlineTooShort())}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != RANK_PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        try:
            await self._in_turn(scope, receive, send)
        except (Overloaded, DeadlineTooShort) as exc:
            await self._refusals[type(exc)].send(scope, send, exc.retry_after_s)
        except MalformedHeader as exc:
            await service_problem(Request(scope), exc)(scope, receive, send)
        except CallerLeft:
            return  # nobody is left to read an answer

    async def _in_turn(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises: Overloaded, DeadlineTooShort, MalformedHeader, CallerLeft."""
        state = scope["state"]
        gives_up_s = state[ARRIVED_S] + patience_s(scope["headers"])
        state[CALLER] = caller = Caller(gives_up_s, partial(has_hung_up, receive), self._admission.max_wait_s)
        turn = self._admission.arrive(caller.remaining_s())
        may_wait_s = caller.may_wait_s
        try:
            message = await receive()  # the whole body, see BodyLimit
            if not turn.has_place:
                await self._wait(turn, caller, receive)
                may_wait_s = caller.may_wait_s
            await self._app(scope, replay(message["body"], receive), send)
        finally:
            self._admission.leave(
                turn,
                was_answered=state["outcome"] in _ANSWERED,
                store_s=caller.store_s,
                waited_s=may_wait_s - caller.may_wait_s,
            )

    async def _wait(self, turn: Turn, caller: Caller, receive: Receive) -> None:
        """Return once the turn has a place. Waits for two things without a second task: the caller's disconnect,
        inside a `timeout` that expires when the place is free or the patience ends.

        Raises: Overloaded, DeadlineTooShort, CallerLeft.
        """
        self._waiting.inc()
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(self._admission.patience_s(caller.remaining_s())) as wait:
                turn.wake = partial(_end, wait)
                while (await receive())["type"] != DISCONNECT:
                    pass
            raise CallerLeft
        except TimeoutError:
            self._admission.refuse_late(caller.remaining_s())
            if not turn.has_place:
                raise Overloaded from None
        finally:
            self._waiting.dec()
            caller.may_wait_s -= time.monotonic() - began_s


def _end(wait: asyncio.Timeout) -> None:
    if not wait.expired():  # or about to expire
        wait.reschedule(0.0)


DEADLINE_HEADER = "X-Deadline-Ms"

_NAME = DEADLINE_HEADER.lower().encode()

_LONGEST_MS = 86_400_000  # a day

_TAKES = f"one whole number of milliseconds from 1 to {_LONGEST_MS}"

DEADLINE_PARAMETER: dict[str, Any] = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "description": "Deadline: how many milliseconds the caller still waits, from the arrival of the request. A request "
    "that cannot be answered by then is refused at once, Redis gets at most the time that is left, and no request "
    "waits longer.",
    "schema": {"type": "integer", "minimum": 1, "maximum": _LONGEST_MS},
    "example": 100,
}


def patience_s(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Return how many seconds the caller waits; infinite without the header.

    Raises:
        MalformedHeader
    """
    sent = [value for name, value in headers if name == _NAME]
    if not sent:
        return math.inf
    text = sent[0].strip(b" \t")
    if len(sent) > 1 or not text.isdigit() or len(text) > len(str(_LONGEST_MS)):
        raise MalformedHeader(DEADLINE_HEADER, _TAKES)
    if not 1 <= (milliseconds := int(text)) <= _LONGEST_MS:
        raise MalformedHeader(DEADLINE_HEADER, _TAKES)
    return milliseconds / 1_000
