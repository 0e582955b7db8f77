"""A uvicorn server that ends without losing a request."""

import asyncio
import socket
import time

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
        await _whatever_is_ready()
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await asyncio.sleep(_LAST_READ_S)
        await super().shutdown(sockets)

    async def _drain(self) -> None:
        self.lifespan.state[DRAINING] = True
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        end = time.monotonic() + self._drain_s
        while (left_s := end - time.monotonic()) > 0 and not self.force_exit:
            await asyncio.sleep(min(_TICK_S, left_s))


async def _whatever_is_ready() -> None:
    """Let the event loop ask the operating system twice, and accept all connections that wait in the listener's queue:
    one round finds them, the next has taken them."""
    for _ in range(4):
        await asyncio.sleep(0)
