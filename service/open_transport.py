"""A transport to which nothing is written after its end."""

import asyncio


class OpenTransport:
    """What a request's answer is written to.

    An answer may be under way when its caller resets the connection; uvloop then raises RuntimeError, which would look
    like a bug of whoever answers.
    """

    __slots__ = ("_is_closing", "_write", "close", "is_closing")

    def __init__(self, transport: asyncio.Transport) -> None:
        self.is_closing = transport.is_closing
        self.close = transport.close
        self._is_closing = transport.is_closing
        self._write = transport.write

    def write(self, data: bytes) -> None:
        if not self._is_closing():
            self._write(data)
