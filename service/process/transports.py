"""A caller that sends no more: it may wait for its answer, or it may be gone."""

import asyncio
import socket
from collections.abc import Callable

_FIRST_LOOK_S = 0.1  # most answers are given by then

_NEXT_LOOK_S = 0.05

_INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"


class HalfClosed:
    """Finds out which of the two.

    `shutdown(SHUT_WR)`, as netcat calls it, and `close` look the same from here. They differ in what becomes of the
    next bytes that are sent there: who is gone has no socket any more, and the kernel there says so. So a caller whose
    answer takes long is sent an interim answer, which HTTP/1.1 has every client pass over.
    """

    def __init__(self, transport: asyncio.Transport, *, may_interrupt: Callable[[], bool]) -> None:
        """Args:
        may_interrupt: whether an interim answer may be sent now.
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
    """What a request's answer is written to.

    An answer may be under way when its caller resets the connection; uvloop then raises RuntimeError, which would look
    like a bug of whoever answers.
    """

    __slots__ = ("close", "is_closing", "write")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = is_closing = transport.is_closing
        self.close = transport.close
        write_now = transport.write

        def write(data: bytes) -> None:  # no method: it is called twice per request, and looks up nothing
            if not is_closing():
                write_now(data)

        self.write = write
