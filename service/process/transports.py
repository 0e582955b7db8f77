"""Half-closed connections: a caller that stopped sending may still wait for its answer, or may be gone."""

import asyncio
import socket
from collections.abc import Callable

_FIRST_LOOK_S = 0.1  # most answers are sent by then

_NEXT_LOOK_S = 0.05

_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """Detects whether a half-closed caller is still there.

    `shutdown(SHUT_WR)`, as netcat calls it, and `close` look the same from here. They differ in their reaction to the
    next bytes: after `close` the peer's kernel answers with a reset. So during a slow answer the caller is sent an
    interim answer, which every HTTP/1.1 client must ignore.
    """

    def __init__(self, transport: asyncio.Transport, *, may_interrupt: Callable[[], bool]) -> None:
        """Args:
        may_interrupt: returns True if an interim answer may be sent now.
        """
        self._transport = transport
        self._may_interrupt = may_interrupt
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(_FIRST_LOOK_S, self._ask)

    def forget(self) -> None:
        self._timer.cancel()

    def _ask(self) -> None:
        if self._may_interrupt():
            self._transport.write(_INTERIM)
            self._timer = self._loop.call_later(_NEXT_LOOK_S, self._look)

    def _look(self) -> None:
        connected: socket.socket = self._transport.get_extra_info("socket")
        if connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(_NEXT_LOOK_S, self._look)


class OpenTransport:
    """Writing side of a transport that ignores writes after a close.

    A caller may reset the connection during its answer; uvloop then raises RuntimeError, which would look like a bug
    of the application.
    """

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = is_closing = transport.is_closing
        self.close = transport.close
        write_now = transport.write

        def write(data: bytes) -> None:  # a closure, not a method: called twice per request, without attribute lookups
            if not is_closing():
                write_now(data)

        self.write = write
