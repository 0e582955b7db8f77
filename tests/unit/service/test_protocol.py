"""One connection costs only so much: limits of heads, times and answers, over real sockets in one event loop."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from service.protocol import MAX_WAITING_REQUESTS, ConnectionLimits, LimitedProtocol
from service.telemetry import Telemetry

LIMIT = 1_000  # bytes of a head
SOON_MS = 150  # a limit that is waited for
NEVER_MS = 60_000  # one that is not reached
WAIT_S = 20.0  # tells "at some time" from "never", also on a busy machine
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


@dataclass
class Listening:
    """A listening server, and an application that keeps what reached it."""

    port: int = 0
    state: ServerState = field(default_factory=ServerState)
    telemetry: Telemetry = field(default_factory=Telemetry)
    scopes: list[Scope] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: bytes = b"done"
    reads_bodies: bool = True
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_answer.set()

    async def application(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        body, is_complete = b"", not self.reads_bodies
        while not is_complete:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message["body"]
            is_complete = not message["more_body"]
        self.bodies.append(body)
        await self.may_answer.wait()
        length = (b"content-length", str(len(self.answer)).encode())
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": self.answer})

    async def send(self, *parts: bytes) -> bytes:
        """All that the server sends, until it closes the connection."""
        async with self.connection() as (reader, writer):
            for part in parts:
                writer.write(part)
            return await asyncio.wait_for(reader.read(), WAIT_S)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def until_all_are_closed(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.state.connections:
                await asyncio.sleep(0.01)

    def num_turned_away(self, problem: str) -> float:
        return self.telemetry.turned_away.labels(problem)._value.get()


@asynccontextmanager
async def listening(**limits: int) -> AsyncIterator[Listening]:
    usual = {"max_header_bytes": LIMIT, "header_timeout_ms": NEVER_MS, "body_timeout_ms": NEVER_MS}
    chosen = ConnectionLimits(**{**usual, "max_connections": 100, **limits})
    here = Listening()
    config = uvicorn.Config(
        here.application, interface="asgi3", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=600
    )
    config.load()

    def connection() -> LimitedProtocol:
        return LimitedProtocol(config, here.state, {"telemetry": here.telemetry}, limits=chosen)

    server = await asyncio.get_running_loop().create_server(connection, "127.0.0.1", 0)
    here.port = server.sockets[0].getsockname()[1]
    try:
        yield here
    finally:
        server.close()
        here.may_answer.set()
        await here.until_all_are_closed()


def run(test: Callable[[Listening], Awaitable[None]], **limits: int) -> None:
    """On the loop that the service runs on."""

    async def against_server() -> None:
        async with listening(**limits) as here:
            await test(here)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(against_server())


def problem(answer: bytes) -> dict[str, Any]:
    """The body of the only answer there is, which ends the connection and is a problem."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head.lower(), answer
    assert answer.count(b"\r\ncontent-length: ") == 1, answer
    document: dict[str, Any] = json.loads(body)
    assert head.startswith(f"HTTP/1.1 {document['status']} ".encode())
    assert document["instance"].encode().removeprefix(b"#") in head
    return document


def test_requests_on_one_connection_are_answered_in_their_order() -> None:
    async def test(here: Listening) -> None:
        closing = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        answer = await here.send(POST + b"Content-Length: 3\r\n\r\nabc", GET * 5, closing)
        assert answer.count(b"HTTP/1.1 200 OK") == 7
        assert here.bodies == [b"abc", *[b""] * 6]
        assert here.scopes[-1]["path"] == "/last"

    run(test, header_timeout_ms=SOON_MS, body_timeout_ms=SOON_MS)


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"x" * LIMIT + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"x" * LIMIT + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"a:b\r\n" * LIMIT + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n" + b"x" * LIMIT + b": 1\r\n\r\n",
    ],
    ids=["target", "value", "number", "name"],
)
def test_a_head_beyond_the_limit_gets_431(head: bytes) -> None:
    async def test(here: Listening) -> None:
        document = problem(await here.send(head))
        assert (document["status"], document["type"]) == (431, "urn:dinrank:problem:headers-too-large")
        assert document["detail"] == "request line and headers are larger than 1000 bytes"
        assert here.scopes == []
        assert here.num_turned_away("headers-too-large") == 1

    run(test)


def test_a_head_within_the_limit_passes() -> None:
    async def test(here: Listening) -> None:
        value = b"x" * (LIMIT - len(b"/Host: x\r\nConnection: close\r\nX: \r\n"))
        answer = await here.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + value + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200 OK")

    run(test)


def test_a_header_without_an_end_is_cut_off() -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
            for _ in range(3):  # each in a packet of its own
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(b"x" * 500)
            assert problem(await asyncio.wait_for(reader.read(), WAIT_S))["status"] == 431

    run(test)


@pytest.mark.parametrize(
    "request_bytes",
    [
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n" + GET,
        POST + b"Content-Length: 3\r\nContent-Length: 43\r\n\r\nabc" + GET,
        POST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: -3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length: 99999999999999999999\r\n\r\nabc",
        POST + b"Content-Length : 3\r\n\r\nabc",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        b"POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc",
        POST + b"X: a\r\n b: c\r\n\r\n",
        POST + b"X: a\rb: c\r\n\r\n",
        POST + b"X: a\x00b\r\n\r\n",
        POST + b"Host: y\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS, to a port that speaks none
        POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
def test_what_two_readers_may_understand_differently_gets_400_and_nothing_after_it_is_read(
    request_bytes: bytes,
) -> None:
    async def test(here: Listening) -> None:
        assert problem(await here.send(request_bytes))["type"] == "urn:dinrank:problem:malformed-request"
        assert here.bodies == []  # neither of it nor of what is hidden behind it

    run(test)


@pytest.mark.parametrize(
    "chunks", [b"-3\r\nabc\r\n", b"ffffffffffffffffff\r\nabc", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n", b"x\r\n"]
)
def test_a_body_in_broken_chunks_gets_400(chunks: bytes) -> None:
    async def test(here: Listening) -> None:
        assert problem(await here.send(POST + b"Transfer-Encoding: chunked\r\n\r\n", chunks))["status"] == 400
        assert here.bodies == []

    run(test)


def test_an_answer_is_never_taken_for_that_to_an_earlier_request() -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        assert await here.send(GET + b"this is no HTTP\r\n\r\n") == b""

    run(test)


def test_a_request_to_change_the_protocol_is_told_what_to_do() -> None:
    async def test(here: Listening) -> None:
        upgrade = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        assert "send no Upgrade header" in problem(await here.send(upgrade))["detail"]

    run(test)


@pytest.mark.parametrize("before", [b"", GET], ids=["first", "kept alive"])
def test_a_head_that_takes_too_long_gets_408(before: bytes) -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            if before:
                writer.write(before)
                await reader.readuntil(b"done")
            writer.write(b"GET / HTTP/1.1\r\nHo")
            answer = asyncio.create_task(reader.read())
            while not answer.done():  # a byte now and then does not help
                writer.write(b"s")
                await asyncio.sleep(0.02)
            assert problem(answer.result())["detail"].startswith(f"the head did not arrive within {SOON_MS} ms")

    run(test, header_timeout_ms=SOON_MS, max_header_bytes=1_000_000)


@pytest.mark.parametrize("sent", [b"", b"\r\n"], ids=["nothing", "empty lines"])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "kept alive"])
def test_a_connection_without_a_request_is_closed(sent: bytes, before: bytes) -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            if before:
                writer.write(before)
                await reader.readuntil(b"done")
            answer = asyncio.create_task(reader.read())
            while not answer.done() and (sent or not before):
                writer.write(sent)
                await asyncio.sleep(0.02)
            if sent or not before:  # a kept connection that is silent is uvicorn's to close, after its own time
                assert answer.result() == b""
            answer.cancel()

    run(test, header_timeout_ms=SOON_MS)


def test_a_body_that_goes_on_after_its_answer_is_cut_off() -> None:
    async def test(here: Listening) -> None:
        here.reads_bodies = False
        async with here.connection() as (reader, writer):
            writer.write(POST + b"Content-Length: 1000000000\r\n\r\n")
            await reader.readuntil(b"done")
            with pytest.raises(ConnectionError):
                async with asyncio.timeout(WAIT_S):
                    while not writer.is_closing():  # uvloop refuses to write then, with another error
                        writer.write(b"x" * 1_000)
                        await writer.drain()
                        await asyncio.sleep(0.01)
                    await writer.wait_closed()
                    raise ConnectionError

    run(test, body_timeout_ms=SOON_MS)


def test_a_connection_is_used_again_after_a_body_that_was_answered_unread() -> None:
    async def test(here: Listening) -> None:
        here.reads_bodies = False
        async with here.connection() as (reader, writer):
            writer.write(POST + b"Content-Length: 100000\r\n\r\n")
            await reader.readuntil(b"done")
            writer.write(b"x" * 100_000 + GET)
            await asyncio.wait_for(reader.readuntil(b"done"), WAIT_S)
            assert [scope["method"] for scope in here.scopes] == ["POST", "GET"]

    run(test)


def test_trailers_are_no_headers() -> None:
    async def test(here: Listening) -> None:
        chunked = POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        await here.send(chunked + b"3;x=y\r\nabc\r\n0\r\nX-API-Key: forged\r\n\r\n")
        assert here.bodies == [b"abc"]
        assert b"x-api-key" not in dict(here.scopes[0]["headers"])

    run(test)


@pytest.mark.parametrize("beside", [b"3;", b"3\r\nabc\r\n0\r\nX: "], ids=["chunk extension", "trailer"])
def test_what_is_sent_beside_a_body_is_limited_too(beside: bytes) -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n" + beside)
            for _ in range(3):
                await writer.drain()
                await asyncio.sleep(0.02)
                writer.write(b"x" * 500)
            assert problem(await asyncio.wait_for(reader.read(), WAIT_S))["status"] == 431

    run(test)


def test_an_answer_that_nobody_takes_is_dropped_with_its_connection() -> None:
    async def test(here: Listening) -> None:
        here.answer = b"x" * 30_000_000  # more than the kernel takes in
        async with here.connection() as (reader, writer):
            writer.write(GET)
            await here.until_all_are_closed()

    run(test, body_timeout_ms=SOON_MS)


def test_connections_beyond_the_limit_get_503_and_those_within_go_on() -> None:
    async def test(here: Listening) -> None:
        async with AsyncExitStack() as stack:
            kept = [await stack.enter_async_context(here.connection()) for _ in range(2)]
            for reader, writer in kept * 2:
                writer.write(GET)
                await reader.readuntil(b"done")
                answer = await here.send()
                assert problem(answer)["type"] == "urn:dinrank:problem:too-many-connections"
                assert b"retry-after: 1" in answer.lower()
        await here.until_all_are_closed()
        closing = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await here.send(closing)).startswith(b"HTTP/1.1 200 OK")

    run(test, max_connections=2)


def test_requests_that_wait_on_one_connection_are_limited() -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        assert await here.send(GET * (MAX_WAITING_REQUESTS + 2)) == b""
        assert len(here.scopes) == 1

    run(test)
