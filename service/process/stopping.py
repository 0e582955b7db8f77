"""A uvicorn server that counts its connections and ends without losing a request."""

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

_PROBE_CONNECTIONS = 16  # of a worker's port for probes

_LAST_READ_S = 0.25  # for requests that were sent before the listener closed and are not read yet


class ServerConfig(uvicorn.Config):
    """uvicorn's, with the limits of connections; what a worker process is told."""

    def __init__(self, app: Any, *, limits: ConnectionLimits, handshake_s: float = HANDSHAKE_S, **options: Any) -> None:
        super().__init__(app, **options)
        self.limits = limits
        self.handshake_s = handshake_s


class DrainingServer(uvicorn.Server):
    """Told to end, it answers on for `drain_ms`, takes every connection that waits, closes the listeners, and ends when
    the requests in flight have their answers, within uvicorn's limit for that.

    From the signal on, every answer closes its connection, so that callers go elsewhere of their own accord.
    uvicorn by itself resets connections that wait to be accepted, and closes idle ones together with what they have
    just received. What remains: a connection that was idle since the signal is closed at the end, and a caller who
    writes to it at that moment has to send again.

    The first socket is for everything, a second one for probes alone.
    """

    config: ServerConfig

    def __init__(self, config: ServerConfig, *, drain_ms: int) -> None:
        super().__init__(config)
        self._drain_s = drain_ms / 1_000
        self._listeners: list[Listener] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=[])  # the application alone: the sockets have a listener of the service's own
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
