"""A uvicorn server that ends without losing a request."""

import asyncio
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

import uvicorn

from service.worker import DRAINING

_CLOSE = (b"connection", b"close")
_TICK_S = 0.1
_LAST_READ_S = 0.25  # for requests that were sent before the listener closed and are not read yet


class DrainingServer(uvicorn.Server):
    """Told to end, it answers on for `drain_ms`, takes every connection that waits, closes the listener, and ends when
    the requests in flight have their answers, within uvicorn's limit for that.

    From the signal on, every answer closes its connection, so that callers go elsewhere of their own accord.
    uvicorn by itself resets connections that wait to be accepted, and closes idle ones together with what they have
    just received. What remains: a connection that was idle since the signal is closed at the end, and a caller who
    writes to it at that moment has to send again.
    """

    def __init__(self, config: uvicorn.Config, *, drain_ms: int) -> None:
        super().__init__(config)
        self._drain_s = drain_ms / 1_000

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._drain()
        listeners = sockets or []
        waiting = list(_waiting_connections(listeners))
        # At once, without giving way to the event loop: who connects between the last one taken and this is lost.
        for server in self.servers:
            server.close()
        for listener in listeners:
            listener.close()
        await self._take_over(waiting)
        await asyncio.sleep(_LAST_READ_S)
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        self.lifespan.state[DRAINING] = True
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        end = time.monotonic() + self._drain_s
        while (left_s := end - time.monotonic()) > 0 and not self.force_exit:
            await asyncio.sleep(min(_TICK_S, left_s))

    async def _take_over(self, connections: Sequence[socket.socket]) -> None:
        """As uvicorn does with connections that its listener accepts.

        One that has gone meanwhile is no loss, nor one whose TLS handshake takes too long: no request was sent on it.
        """
        loop = asyncio.get_running_loop()
        taken = (
            loop.connect_accepted_socket(self._protocol, connection, ssl=self.config.ssl) for connection in connections
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_READ_S):
                await asyncio.gather(*taken, return_exceptions=True)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]  # it is typed as any protocol
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _waiting_connections(listeners: Sequence[socket.socket]) -> Iterator[socket.socket]:
    """Those that the operating system has accepted and nobody has taken from it."""
    for listener in listeners:
        listener.setblocking(False)
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # none is left; or too many files are open, and then none can be taken
                break
            connection.setblocking(False)
            yield connection
