"""uvicorn server with connection limits and a graceful shutdown that loses no request."""

import asyncio
import socket
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from dinrank.service.api.context import DRAINING
from dinrank.service.api.health import ProbesAlone
from dinrank.service.process.listener import HANDSHAKE_S, Listener
from dinrank.service.process.places import Places
from dinrank.service.process.protocol import ConnectionLimits, LimitedProtocol
from dinrank.service.telemetry.metrics import Drop, Telemetry

_CLOSE = (b"connection", b"close")

_TICK_S = 0.1

_PROBE_CONNECTIONS = 16  # on a worker's probe port

_LAST_READ_S = 0.25  # for requests sent before the listener closed and not read yet


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration plus the connection limits; passed to worker processes."""

    def __init__(self, app: Any, *, limits: ConnectionLimits, handshake_s: float = HANDSHAKE_S, **options: Any) -> None:
        super().__init__(app, **options)
        self.limits = limits
        self.handshake_s = handshake_s


class DrainingServer(uvicorn.Server):
    """Graceful shutdown: keeps answering for `drain_ms`, accepts the whole backlog, closes the listeners, and ends when
    the requests in flight are answered, within uvicorn's limit for that.

    From the signal on, every answer closes its connection, so that callers move elsewhere. uvicorn by itself resets
    connections in the backlog, and closes idle ones together with data they have just received. One case remains: a
    connection idle since the signal is closed at the end, and a caller that writes to it at that moment has to retry.

    The first socket serves everything, an optional second one only probes.
    """

    config: ServerConfig

    def __init__(self, config: ServerConfig, *, drain_ms: int) -> None:
        super().__init__(config)
        self._drain_s = drain_ms / 1_000
        self._listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # only the application: the sockets have our own listener
        self._listeners = list(self._made_listeners(sockets or []))
        for listener in self._listeners:
            listener.start()

    def _made_listeners(self, sockets: list[socket.socket]) -> Iterator[Listener]:
        telemetry: Telemetry = self.lifespan.state["telemetry"]
        app = self.config.loaded_app
        for bound, app_here, limit in zip(
            sockets, (app, ProbesAlone(app)), (self.config.limits.max_connections, _PROBE_CONNECTIONS), strict=False
        ):
            places = Places(limit, on_given_way=partial(telemetry.drop, Drop.GAVE_WAY))
            yield Listener(
                bound,
                partial(self._protocol, places=places, app=app_here),
                places,
                telemetry,
                context=self.config.ssl,
                handshake_s=self.config.handshake_s,
            )

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain()
        for listener in self._listeners:
            listener.close()
        await asyncio.gather(*(listener.opened(_LAST_READ_S) for listener in self._listeners))
        await asyncio.sleep(_LAST_READ_S)
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        self.lifespan.state[DRAINING] = True
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        end = time.monotonic() + self._drain_s
        while (left_s := end - time.monotonic()) > 0 and not self.force_exit:
            await asyncio.sleep(min(_TICK_S, left_s))

    def _protocol(self, *, places: Places, app: Any) -> LimitedProtocol:
        return LimitedProtocol(
            self.config, self.server_state, self.lifespan.state, limits=self.config.limits, places=places, app=app
        )
