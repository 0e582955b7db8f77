"""Request bodies: read whole, within limits of size and time, then replayed to the layers inside."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinrank.service.api.context import _AS_IT_IS
from dinrank.service.api.problems import service_problem
from dinrank.service.errors import BodyTooLarge, RequestTimedOut, UnsupportedEncoding


class BodyLimit:
    """Reads the body before any other layer, and refuses it as soon as it is too large or too late.

    Counts the bytes received, so that a body without Content-Length, or with a wrong one, is limited too.
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
        """Read all of it; None if the caller hung up. Raises: BodyTooLarge, RequestTimedOut, UnsupportedEncoding."""
        self._check_announcement(scope)
        body = bytearray()
        first = at_once(receive)  # most bodies arrive with their heads and need no timer
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
        """Append the message's part to `body`; return True after the last part. Raises: BodyTooLarge."""
        body += message.get("body", b"")
        if len(body) > self._max_body_bytes:
            raise BodyTooLarge(self._max_body_bytes)
        return not message.get("more_body", False)


def _unless_left(last: Message, body: bytearray) -> bytes | None:
    return None if last["type"] == DISCONNECT else bytes(body)


def replay(body: bytes, receive: Receive) -> Receive:
    """Return a channel that yields the whole body first, then the messages after it: the disconnect."""
    unread: list[Mapping[str, object]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return dict(unread.pop()) if unread else await receive()

    return receive_again


DISCONNECT = "http.disconnect"


def at_once(receive: Receive) -> Message | None:
    """Return the next message, or None if it has not arrived; a later call then returns it.

    Needs a `receive` that loses nothing when closed while it waits, like uvicorn's and those of the layers here.

    Takes one step of `receive` by hand, which costs some microseconds; if that would block, the coroutine is closed.
    A cancel scope or a task costs twenty times as much.
    """
    asking = receive().__await__()
    try:
        next(asking)
    except StopIteration as told:
        message: Message = told.value
        return message
    asking.close()
    return None


def has_hung_up(receive: Receive) -> bool:
    """Return True if the caller has disconnected. Call it only once the body was read: no other message follows."""
    message = at_once(receive)
    return message is not None and message["type"] == DISCONNECT
