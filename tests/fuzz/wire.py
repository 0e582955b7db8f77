"""Where hostile requests go, and in what manner: plain or over TLS, one by one, in pipelines, half-closed, cut off."""

import http.client
import socket
import ssl
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader

TIMEOUT_S = 60.0  # an answer that takes longer is a hang


class Manner(StrEnum):
    """How a caller sends."""

    ONE_BY_ONE = "one by one"
    PIPELINE = "pipeline"  # several at once on a connection of their own; their answers come in order
    HALF_CLOSED = "half-closed"  # it says that it sends no more, and waits for the answer
    RESET = "reset"  # several at once, and gone before the answers


@dataclass(frozen=True, slots=True)
class Answer:
    """Status and body, and whether the connection ends with it."""

    status: int
    body: bytes
    is_last: bool


class Connection:
    """To a service, with what was read of it and belongs to the next answer."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected
        self._file = connected.makefile("rb")

    def makefile(self, mode: str) -> "_Unclosed":
        """What `http.client` asks a socket for."""
        return _Unclosed(self._file)

    def answer(self) -> Answer:
        response = http.client.HTTPResponse(self, method="POST")  # type: ignore[arg-type]  # as much of one as it uses
        response.begin()  # passes over 100 Continue
        return Answer(response.status, response.read(), response.will_close)

    def has_ended(self) -> bool:
        return not self._file.read(1)

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class _Unclosed:
    """A file that stays open when an answer has been read from it."""

    def __init__(self, file: BufferedReader) -> None:
        self.read, self.readline, self.readinto = file.read, file.readline, file.readinto

    def close(self) -> None:
        """Nothing: the connection closes it."""

    def flush(self) -> None:
        """Nothing: it is read only."""


@dataclass(frozen=True, slots=True)
class Target:
    """A service on this machine.

    Attributes:
        authority: path of the certificate's authority; empty for plain HTTP.
    """

    port: int
    authority: str = ""

    def open(self) -> Connection:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT_S)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if not self.authority:
            return Connection(plain)
        context = ssl.create_default_context(cafile=self.authority)
        return Connection(context.wrap_socket(plain, server_hostname="127.0.0.1"))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        opened = self.open()
        try:
            yield opened
        finally:
            opened.close()

    def reset_after(self, request: bytes) -> None:
        """Send and be gone, with what is not read yet."""
        with self.connection() as connection:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.socket.settimeout(0.05)  # what does not go out at once is cut off too
            connection.socket.sendall(request)

    def manners(self) -> list[Manner]:
        """Over TLS nobody is half closed: asyncio takes either side's end for the end."""
        return [each for each in Manner if not (self.authority and each is Manner.HALF_CLOSED)]
