"""What happens around every request: its id, its time and outcome, and the limits of its body. Plain ASGI."""

import asyncio
import os
import re
import time
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.answer_headers import OF_ALL_OTHERS, OF_RANKINGS, with_headers
from service.api.arrivals import DISCONNECT, at_once
from service.api.errors import INTERNAL, REQUEST_ID_HEADER, service_problem
from service.api.headers import header
from service.api.outcomes import ABANDONED, OUTCOMES
from service.errors import BodyTooLarge, RequestTimedOut, UnsupportedEncoding
from service.telemetry import Stage, Telemetry, current_request_id

RANK_PATH = "/rank"
ARRIVED_S = "arrived_s"  # in the scope's state: when the request came, by `time.monotonic`
_REQUEST_ID_BYTES = REQUEST_ID_HEADER.lower().encode()
_AS_IT_IS = (b"", b"identity")
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # may go to logs and headers as it is


class RequestContext:
    """Gives every request an id and every answer its headers, and measures and counts the ranking requests.

    HEAD is GET without the body of the answer, on every path.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._outcomes = {outcome: telemetry.tally.counter(telemetry.requests.labels(outcome)) for outcome in OUTCOMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        # Not reset: the task ends with the request, and what it logs after this, as the server of a bug, is about it.
        current_request_id.set(request_id)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state[ARRIVED_S] = time.monotonic()

        is_ranking = scope["path"] == RANK_PATH
        headers = ((_REQUEST_ID_BYTES, request_id.encode()), *(OF_RANKINGS if is_ranking else OF_ALL_OTHERS))

        async def send_with_headers(message: Message) -> None:
            await send(with_headers(message, headers) if message["type"] == "http.response.start" else message)

        if scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, without_body(send_with_headers))
        elif is_ranking:
            await self._measured(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

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
            self._outcomes[state["outcome"]].inc(1)


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
            body = await self._body(scope, receive)
        except (BodyTooLarge, RequestTimedOut, UnsupportedEncoding) as exc:
            await service_problem(Request(scope), exc)(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, replay(body, receive), send)

    async def _body(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of it; None when the caller has hung up. Raises: BodyTooLarge, RequestTimedOut, UnsupportedEncoding."""
        self._check_announcement(scope)
        body = bytearray()
        first = at_once(receive)  # most bodies have come with their heads, and need no timer
        if first is not None and self._is_last(first, body):
            return _unless_left(first, body)
        try:
            async with asyncio.timeout(self._timeout_ms / 1_000):
                while not self._is_last(last := await receive(), body):
                    pass
        except TimeoutError as exc:
            raise RequestTimedOut("body", self._timeout_ms) from exc
        return _unless_left(last, body)

    def _check_announcement(self, scope: Scope) -> None:
        """Raises: BodyTooLarge, UnsupportedEncoding."""
        for name, value in scope["headers"]:
            if name == b"content-length":
                if value.isdigit() and int(value) > self._max_body_bytes:
                    raise BodyTooLarge(self._max_body_bytes)
            elif name == b"content-encoding" and value.strip().lower() not in _AS_IT_IS:
                raise UnsupportedEncoding

    def _is_last(self, message: Message, body: bytearray) -> bool:
        """Whether nothing of the body comes after this message, whose part is added. Raises: BodyTooLarge."""
        body += message.get("body", b"")
        if len(body) > self._max_body_bytes:
            raise BodyTooLarge(self._max_body_bytes)
        return not message.get("more_body", False)


def without_body(send: Send) -> Send:
    """A channel for the answer to HEAD."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


def _unless_left(last: Message, body: bytearray) -> bytes | None:
    return None if last["type"] == DISCONNECT else bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """A channel that gives the whole body first, and then what comes after it: the caller hanging up."""
    unread: list[Mapping[str, object]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return dict(unread.pop()) if unread else await receive()

    return receive_again


def new_request_id() -> str:
    return os.urandom(16).hex()


def _request_id(scope: Scope) -> str:
    sent = header(scope, _REQUEST_ID_BYTES)
    return sent if _SANE_ID.fullmatch(sent) else new_request_id()
