"""The end of a server, on real sockets, with a small application."""

import asyncio
import http.client
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from dinrank.service.api.context import DRAINING
from dinrank.service.process.protocol import ConnectionLimits
from dinrank.service.process.stopping import DrainingServer, ServerConfig
from dinrank.service.telemetry.metrics import Telemetry

pytestmark = pytest.mark.anyio

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def says_whether_it_drains(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await receive()
        scope["state"]["telemetry"] = Telemetry()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = str(scope["state"].get(DRAINING, False)).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        yield bound


@pytest.fixture
def server() -> DrainingServer:
    limits = ConnectionLimits(
        max_header_bytes=1_000, header_timeout_ms=60_000, body_timeout_ms=60_000, max_connections=10
    )
    config = ServerConfig(says_whether_it_drains, limits=limits, lifespan="on", ws="none", log_config=None)
    config.load()
    server = DrainingServer(config, drain_ms=0)
    server.lifespan = config.lifespan_class(config)
    return server


def answer(connection: socket.socket) -> tuple[int, bytes, str | None]:
    response = http.client.HTTPResponse(connection)
    response.begin()
    with response:
        return response.status, response.read(), response.getheader("Connection")


async def test_what_was_sent_before_the_listener_closed_is_answered(
    server: DrainingServer, listener: socket.socket
) -> None:
    """In one breath, in which the event loop cannot take anything: so it lies with the operating system."""
    await server.startup([listener])
    address = listener.getsockname()
    with socket.create_connection(address, timeout=30) as idle:
        idle.sendall(REQUEST)
        first = await asyncio.to_thread(answer, idle)
        with socket.create_connection(address, timeout=30) as waiting:
            for connection in (idle, waiting):
                connection.sendall(REQUEST)
            await server.shutdown([listener])
            for connection in (idle, waiting):
                assert await asyncio.to_thread(answer, connection) == (200, b"True", "close")
    assert first == (200, b"False", None)


async def test_a_closed_listener_refuses_at_once(server: DrainingServer, listener: socket.socket) -> None:
    await server.startup([listener])
    address = listener.getsockname()
    await server.shutdown([listener])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address, timeout=30)
