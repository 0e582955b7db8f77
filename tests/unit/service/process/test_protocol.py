"""One connection costs only so much: limits of heads, times and answers, over real sockets in one event loop."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from dinrank.service.process.listener import Listener
from dinrank.service.process.places import Places
from dinrank.service.process.protocol import MAX_WAITING_REQUESTS, ConnectionLimits, LimitedProtocol
from dinrank.service.telemetry.metrics import Drop, Telemetry

LIMIT = 1_000  # bytes of a head

SOON_MS = 150  # a limit that is waited for

NEVER_MS = 60_000  # one that is not reached

WAIT_S = 20.0  # tells "at some time" from "never", also on a busy machine

POST = b"POST / HTTP/1.1\r\nHost: x\r\n"

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

ODD_HOSTS = [
    b"",
    b" ",
    b" a b",
    b" a,b",
    b" u@b",
    b" b/x",
    b" b:",
    b" b:65536",
    b" b:x",
    b" b:1:2",
    b" [::1",
    b" ::1",
    b" \xff",
]


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

    async def until_seen(self, connections: int, requests: int) -> None:
        async with asyncio.timeout(WAIT_S):
            while len(self.state.connections) < connections or len(self.scopes) < requests:
                await asyncio.sleep(0.01)

    async def until_all_are_closed(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while self.state.connections:
                await asyncio.sleep(0.01)

    def num_dropped(self, cause: Drop) -> float:
        return self.telemetry._dropped.labels(cause)._value.get()

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

    places = Places(chosen.max_connections, on_given_way=partial(here.telemetry.drop, Drop.GAVE_WAY))

    def connection() -> LimitedProtocol:
        state = {"telemetry": here.telemetry}
        return LimitedProtocol(config, here.state, state, limits=chosen, places=places)

    bound = socket.create_server(("127.0.0.1", 0))
    here.port = bound.getsockname()[1]
    listener = Listener(bound, connection, places, here.telemetry, context=None)
    listener.start()
    try:
        yield here
    finally:
        listener.close()
        here.may_answer.set()
        await here.until_all_are_closed()
        assert len(places) == 0  # whatever happened to them


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
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET,
        b"POST / HTTP/1.1\nHost: x\nContent-Length: 3\n\nabc",
        POST + b"X: a\r\n b: c\r\n\r\n",
        POST + b"X: a\rb: c\r\n\r\n",
        POST + b"X: a\x00b\r\n\r\n",
        *(b"GET / HTTP/1.1\r\nHost:" + host + b"\r\n\r\n" for host in ODD_HOSTS),
        b"GET /\r\n",
        b"GET /\r\n\r\n",
        b"GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a#b HTTP/1.1\r\nHost: x\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        POST + b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
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
    "head",
    [
        POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n",
        b"PROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DESCRIBE / RTSP/1.0\r\nHost: x\r\n\r\n",
    ],
)
def test_what_the_service_does_without_gets_501(head: bytes) -> None:
    async def test(here: Listening) -> None:
        assert problem(await here.send(head))["type"] == "urn:dinrank:problem:not-implemented"
        assert here.bodies == []

    run(test)


@pytest.mark.parametrize("host", [b"a.example", b"my_service:8000", b"127.0.0.1:65535", b"[::1]:80", b"[2001:db8::1]"])
def test_names_and_addresses_are_hosts(host: bytes) -> None:
    async def test(here: Listening) -> None:
        head = b"GET / HTTP/1.1\r\nConnection: close\r\nHost: " + host + b"\r\n\r\n"
        assert (await here.send(head)).startswith(b"HTTP/1.1 200 OK")

    run(test)


def test_http_1_0_needs_no_host() -> None:
    async def test(here: Listening) -> None:
        assert (await here.send(b"GET / HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 200 OK")

    run(test)


@pytest.mark.parametrize(
    "chunks", [b"-3\r\nabc\r\n", b"ffffffffffffffffff\r\nabc", b"3\nabc\n0\n\n", b"3\r\nabcd\r\n", b"x\r\n"]
)
def test_a_body_in_broken_chunks_gets_400(chunks: bytes) -> None:
    async def test(here: Listening) -> None:
        assert problem(await here.send(POST + b"Transfer-Encoding: chunked\r\n\r\n", chunks))["status"] == 400
        assert here.bodies == []

    run(test)


@pytest.mark.parametrize("late", [b"this is no HTTP\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\nx\r\n"])
def test_what_is_refused_is_told_after_the_answers_to_what_came_before(late: bytes) -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        async with here.connection() as (reader, writer):
            writer.write(GET * 3 + late)
            async with asyncio.timeout(WAIT_S):
                while not here.num_turned_away("malformed-request"):
                    await asyncio.sleep(0.01)
                here.may_answer.set()
                *answers, last = (await reader.read()).split(b"done")
        assert len(answers) == 3
        assert all(answer.startswith(b"HTTP/1.1 200 OK") for answer in answers)
        assert problem(last)["status"] == 400

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
                with suppress(ConnectionResetError):  # a line of the caller's crossed the end
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


def test_chunk_extensions_are_limited_however_many_chunks_there_are() -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            answer = asyncio.create_task(reader.read())
            for _ in range(100):
                if answer.done():
                    break
                writer.write(b"1;" + b"x" * 500 + b"\r\nx\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)
            assert problem(await asyncio.wait_for(answer, WAIT_S))["status"] == 431

    run(test)


def test_a_body_in_chunks_of_one_byte_is_none_too_many() -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(POST + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(20):
                writer.write(b"1\r\nx\r\n" * 100)
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(b"0\r\n\r\n")
            await asyncio.wait_for(reader.read(), WAIT_S)
        assert here.bodies == [b"x" * 2_000]

    run(test)


def test_an_answer_that_nobody_takes_is_dropped_with_its_connection() -> None:
    async def test(here: Listening) -> None:
        here.answer = b"x" * 30_000_000  # more than the kernel takes in
        async with here.connection() as (reader, writer):
            writer.write(GET)
            await here.until_all_are_closed()

    run(test, body_timeout_ms=SOON_MS)


def test_the_connection_that_has_been_idle_for_longest_gives_way() -> None:
    async def test(here: Listening) -> None:
        async with AsyncExitStack() as stack:
            kept = [await stack.enter_async_context(here.connection()) for _ in range(3)]
            for place in (0, 1, 2, 0):  # so the second one has waited for longest
                reader, writer = kept[place]
                writer.write(GET)
                await asyncio.wait_for(reader.readuntil(b"done"), WAIT_S)
            newcomer, newcomers_writer = await stack.enter_async_context(here.connection())
            newcomers_writer.write(GET)
            await asyncio.wait_for(newcomer.readuntil(b"done"), WAIT_S)
            with suppress(ConnectionResetError):
                assert await asyncio.wait_for(kept[1][0].read(), WAIT_S) == b""
            for reader, writer in (kept[0], kept[2]):
                writer.write(GET)
                await asyncio.wait_for(reader.readuntil(b"done"), WAIT_S)
        assert here.num_dropped(Drop.GAVE_WAY) == 1

    run(test, max_connections=3)


def test_of_a_crowd_that_comes_at_once_nothing_is_left() -> None:
    """Some give way in the very turn of the event loop in which they are made; the fixture looks for them."""

    async def test(here: Listening) -> None:
        for _ in range(5):
            crowd = [socket.create_connection(("127.0.0.1", here.port)) for _ in range(60)]
            closing = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            assert (await here.send(closing)).startswith(b"HTTP/1.1 200 OK")
            for each in crowd:
                each.close()
        assert here.num_dropped(Drop.GAVE_WAY) > 100

    run(test, max_connections=10)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ((b"", b"GET / HT", POST + b"Content-Length: 9\r\n\r\nabc"), [0, 1, 2]),
        ((POST + b"Content-Length: 9\r\n\r\nabc", b"GET / HT", b""), [2, 1, 0]),
        ((b"GET / HT", GET, b""), [2, 0]),
    ],
    ids=["idle first", "a body last", "never a request that is being answered"],
)
def test_what_loses_least_gives_way_first(sent: tuple[bytes, ...], expected: list[int]) -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        async with AsyncExitStack() as stack:
            kept = []
            for part in sent:
                reader, writer = await stack.enter_async_context(here.connection())
                writer.write(part)
                kept.append(asyncio.create_task(_closed(reader)))
            await here.until_seen(len(sent), sum(b"HTTP/1.1" in part for part in sent))
            for place in expected:
                here.may_answer.clear()
                _, writer = await stack.enter_async_context(here.connection())
                writer.write(GET)  # it is at work, and does not give way to the next
                await asyncio.wait_for(kept[place], WAIT_S)
            gone = {place for place, each in enumerate(kept) if each.done()}
            assert gone == set(expected)
            here.may_answer.set()

    run(test, max_connections=3)


async def _closed(reader: asyncio.StreamReader) -> None:
    with suppress(ConnectionError):
        await reader.read()


def test_connections_without_a_place_get_503_when_all_others_are_at_work() -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        async with AsyncExitStack() as stack:
            kept = [await stack.enter_async_context(here.connection()) for _ in range(2)]
            for _, writer in kept:
                writer.write(GET)
            await here.until_seen(2, 2)
            for _ in range(2):
                answer = await here.send()
                assert problem(answer)["type"] == "urn:dinrank:problem:too-many-connections"
                assert b"retry-after: 1" in answer.lower()
            here.may_answer.set()
            for reader, _ in kept:
                await asyncio.wait_for(reader.readuntil(b"done"), WAIT_S)
        await here.until_all_are_closed()
        closing = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        assert (await here.send(closing)).startswith(b"HTTP/1.1 200 OK")

    run(test, max_connections=2)


def test_those_of_a_pipeline_that_are_too_many_get_503_after_the_answers_to_the_others() -> None:
    async def test(here: Listening) -> None:
        *answers, last = (await here.send(GET * (MAX_WAITING_REQUESTS + 5))).split(b"done")
        assert len(answers) == len(here.scopes) == MAX_WAITING_REQUESTS + 1
        assert problem(last)["type"] == "urn:dinrank:problem:pipeline-too-long"

    run(test)


@pytest.mark.parametrize("num_requests", [1, 3])
@pytest.mark.parametrize("rest", [b"", b"GET / HT", POST + b"Content-Length: 9\r\n\r\nabc"])
def test_a_caller_that_sends_no_more_gets_the_answers_to_what_it_sent_whole(num_requests: int, rest: bytes) -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(GET * num_requests + rest)
            writer.write_eof()
            answer = await asyncio.wait_for(reader.read(), WAIT_S)
        assert answer.count(b"HTTP/1.1 200 OK") == num_requests
        assert answer.endswith(b"done")
        assert answer.count(b"connection: close") <= 1

    run(test)


def test_a_caller_that_sends_no_more_and_waits_long_gets_its_answer_too() -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        async with here.connection() as (reader, writer):
            writer.write(GET)
            writer.write_eof()
            interim = b"HTTP/1.1 100 Continue\r\n\r\n"
            assert await asyncio.wait_for(reader.readexactly(len(interim)), WAIT_S) == interim
            here.may_answer.set()
            answer = await asyncio.wait_for(reader.read(), WAIT_S)
        assert answer.startswith(b"HTTP/1.1 200 OK") and b"connection: close" in answer

    run(test)


def test_a_caller_that_is_gone_is_noticed_while_its_answer_is_made() -> None:
    async def test(here: Listening) -> None:
        here.may_answer.clear()
        async with here.connection() as (_, writer):
            writer.write(GET)
            await here.until_seen(1, 1)
            writer.close()
            await here.until_all_are_closed()

    run(test)


@pytest.mark.parametrize("sent", [b"", b"GET / HT", GET], ids=["nothing", "half a head", "answered"])
def test_a_caller_that_sends_no_more_and_waits_for_nothing_is_let_go(sent: bytes) -> None:
    async def test(here: Listening) -> None:
        async with here.connection() as (reader, writer):
            writer.write(sent)
            if sent == GET:
                await asyncio.wait_for(reader.readuntil(b"done"), WAIT_S)
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), WAIT_S) == b""

    run(test)


def test_a_reset_amid_a_pipeline_is_no_error_of_the_applications(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn tells the last request of it alone that its caller has gone; the one at work then writes to nobody."""

    async def test(here: Listening) -> None:
        here.answer = b"x" * 1_000_000
        for num_requests in (2, 5, 17):
            here.may_answer.clear()
            async with here.connection() as (_, writer):
                writer.write(GET * num_requests)
                await here.until_seen(1, 1)
                linger = (1).to_bytes(4, "little") + (0).to_bytes(4, "little")
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                writer.transport.abort()
            here.may_answer.set()
            await here.until_all_are_closed()
            here.scopes.clear()

    run(test)
    assert caplog.text == ""
