"""What happens around every request: its id, its time and outcome, and the limits of its body. Plain ASGI."""

import asyncio
import re
import time
import uuid
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.errors import INTERNAL, REQUEST_ID_HEADER, service_problem
from service.api.outcomes import ABANDONED, OUTCOMES
from service.errors import BodyTooLarge, RequestTimedOut, ServiceError
from service.telemetry import Stage, Telemetry, current_request_id, declare

RANK_PATH = "/rank"
ARRIVED_S = "arrived_s"  # in the scope's state: when the request came, by `time.monotonic`
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # may go to logs and headers as it is


class RequestContext:
    """Gives every request an id, and measures and counts the ranking requests."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        declare(telemetry.requests, OUTCOMES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(Headers(scope=scope))
        # Not reset: the task ends with the request, and what it logs after this, as the server of a bug, is about it.
        current_request_id.set(request_id)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state[ARRIVED_S] = time.monotonic()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = request_id
            await send(message)

        if scope["path"] == RANK_PATH:
            await self._measured(scope, receive, send_with_id)
        else:
            await self._app(scope, receive, send_with_id)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["outcome"] = ABANDONED
        try:
            with self._telemetry.timed(Stage.TOTAL):
                await self._app(scope, receive, send)
        except Exception:
            state["outcome"] = INTERNAL
            raise
        finally:
            self._telemetry.requests.labels(state["outcome"]).inc()


class BodyLimit:
    """Reads the body before anything else looks at it, and refuses it as soon as it is too long, or too late.

    Counts what arrives, so that a body without Content-Length, or with a wrong one, is limited too.
    """

    def __init__(self, app: ASGIApp, *, max_body_bytes: int, timeout_ms: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes
        self._timeout_ms = timeout_ms

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                body = await self._read(scope, receive)
        except TimeoutError:
            await _refuse(RequestTimedOut("body", self._timeout_ms), scope, receive, send)
        except BodyTooLarge as exc:
            await _refuse(exc, scope, receive, send)
        else:
            if body is not None:
                await self._app(scope, replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when the caller has hung up. Raises: BodyTooLarge."""
        body = bytearray()
        is_complete = False
        too_large = _announced_bytes(Headers(scope=scope)) > self._max_body_bytes
        while not (is_complete or too_large):
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            is_complete = not message.get("more_body", False)
            too_large = len(body) > self._max_body_bytes
        if too_large:
            raise BodyTooLarge(self._max_body_bytes)
        return bytes(body)


async def _refuse(error: ServiceError, scope: Scope, receive: Receive, send: Send) -> None:
    await service_problem(Request(scope), error)(scope, receive, send)


def replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the whole body first, and then what comes after it: the caller hanging up."""
    unread: list[Mapping[str, object]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return dict(unread.pop()) if unread else await receive()

    return receive_again


def _announced_bytes(headers: Headers) -> int:
    announced = headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else 0


def new_request_id() -> str:
    return uuid.uuid4().hex


def _request_id(headers: Headers) -> str:
    sent = headers.get(REQUEST_ID_HEADER, "")
    return sent if _SANE_ID.fullmatch(sent) else new_request_id()
