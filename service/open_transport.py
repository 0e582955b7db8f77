"""A transport to which nothing is written after its end."""

import asyncio


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
