"""Listening socket that counts every connection from its accept on.

asyncio's own servers accept without limit, and have no hook for a TLS handshake in progress or a process out of file
descriptors.
"""

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from dinrank.service.process.places import Places
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Drop, Telemetry

if TYPE_CHECKING:
    from dinrank.service.process.protocol import LimitedProtocol

HANDSHAKE_S = 5.0  # how long a TLS handshake may take

_TLS_CLOSE_S = 2.0  # timeout of the TLS shutdown handshake

_BACKLOG = 2_048

_AT_ONCE = 8  # connections accepted per turn of the event loop; other workers accept meanwhile

_NO_FILE = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_NO_FILE_PAUSE_S = 0.1

_ROOM_MADE_PAUSE_S = 0.005  # evicted connections are closed by then

_NO_FILE_SILENCE_S = 60.0


class Listener:
    """Accepts connections while there are free places or idle connections to evict, and refuses after that.

    Args:
        make_protocol: called for each connection.
        context: for TLS; None for plain HTTP.
    """

    def __init__(
        self,
        bound: socket.socket,
        make_protocol: "Callable[[], LimitedProtocol]",
        places: Places,
        telemetry: Telemetry,
        *,
        context: ssl.SSLContext | None,
        handshake_s: float = HANDSHAKE_S,
    ) -> None:
        self._socket = bound
        self._make_protocol = make_protocol
        self._places = places
        self._telemetry = telemetry
        self._tls: dict[str, object] = {}
        if context is not None:
            self._tls = {
                "ssl": context,
                "ssl_handshake_timeout": handshake_s,
                "ssl_shutdown_timeout": _TLS_CLOSE_S,
            }
        self._loop = asyncio.get_running_loop()
        self._opening: dict[asyncio.Task[object], LimitedProtocol] = {}
        self._pause: asyncio.TimerHandle | None = None
        self._said_no_file_at_s = -_NO_FILE_SILENCE_S

    def start(self) -> None:
        self._socket.setblocking(False)
        self._socket.listen(_BACKLOG)
        self._loop.add_reader(self._socket, self._accept_some)

    def close(self) -> None:
        """Accept the connections already in the backlog, then close the socket."""
        if self._pause is not None:
            self._pause.cancel()
        if self._socket.fileno() < 0:
            return
        self._loop.remove_reader(self._socket)
        while self._accept():
            pass
        self._socket.close()

    async def opened(self, wait_s: float) -> None:
        """Wait for handshakes in progress; those that take longer are aborted, as they carry no request yet."""
        if self._opening:
            await asyncio.wait(self._opening, timeout=wait_s)
            for protocol in list(self._opening.values()):
                protocol.give_way()

    def _accept_some(self) -> None:
        for _ in range(_AT_ONCE):
            if not self._accept():
                return

    def _accept(self) -> bool:
        """Accept one connection; return False if there is none."""
        try:
            connection, _ = self._socket.accept()
        except OSError as exc:  # no connection is left, or its caller hung up before the accept
            if exc.errno in _NO_FILE:
                self._on_no_file(exc)
            return False
        connection.setblocking(False)
        self._admit(connection)
        return True

    def _admit(self, connection: socket.socket) -> None:
        protocol = self._make_protocol()
        protocol.has_place = self._places.take(protocol)
        if not protocol.has_place and not self._places.turn_away(protocol):
            self._telemetry.drop(Drop.NO_PLACE)
            connection.close()
            return
        protocol.opening = task = self._loop.create_task(self._open(connection, protocol))
        self._opening[task] = protocol
        task.add_done_callback(partial(self._on_open, connection, protocol))

    async def _open(self, connection: socket.socket, protocol: "LimitedProtocol") -> object:
        return await self._loop.connect_accepted_socket(lambda: protocol, connection, **self._tls)  # type: ignore[arg-type]

    def _on_open(self, connection: socket.socket, protocol: "LimitedProtocol", task: "asyncio.Task[object]") -> None:
        del self._opening[task]
        protocol.opening = None
        if not task.cancelled() and task.exception() is None:
            return
        self._places.leave(protocol)
        connection.close()
        if not task.cancelled():
            self._telemetry.drop(Drop.HANDSHAKE)

    def _on_no_file(self, exc: OSError) -> None:
        """Pause accepting: the connection stays in the backlog, and retrying on every turn of the loop is useless."""
        self._telemetry.drop(Drop.NO_FILE)
        now_s = time.monotonic()
        if now_s - self._said_no_file_at_s >= _NO_FILE_SILENCE_S:
            self._said_no_file_at_s = now_s
            log_event(
                logging.ERROR, "cannot_accept", reason=exc.strerror, connections=len(self._places), remedy="ulimit -n"
            )
        num_given = sum(self._places.make_room() for _ in range(_AT_ONCE))
        if self._pause is None:
            self._loop.remove_reader(self._socket)
            pause_s = _ROOM_MADE_PAUSE_S if num_given else _NO_FILE_PAUSE_S
            self._pause = self._loop.call_later(pause_s, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        self._loop.add_reader(self._socket, self._accept_some)
