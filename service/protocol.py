"""One connection of a caller: what it may cost before there is a request, and after its answer.

uvicorn and httptools read HTTP strictly, but without limits: a head may be endless, arrive a byte a minute, or never;
an answer that nobody takes stays in memory. Here each of these has an end. What is refused gets a problem when it is
certain whose answer that is, and a closed connection otherwise.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from service.api.errors import PROBLEMS, service_problem_bytes
from service.api.middleware import new_request_id
from service.errors import HeadersTooLarge, MalformedRequest, RequestTimedOut, ServiceError, TooManyConnections
from service.settings import Settings
from service.telemetry import Telemetry

MAX_WAITING_REQUESTS = 16  # of one connection that sends requests without reading answers
_LINGER_S = 1.0  # how long a caller who was refused may take to stop sending
_UPGRADE = "this service speaks HTTP/1.1 alone; send no Upgrade header (Java: HttpClient.Version.HTTP_1_1)"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """What one connection may cost, and how many a worker keeps."""

    max_header_bytes: int
    header_timeout_ms: int
    body_timeout_ms: int
    max_connections: int


class _Expected(Enum):
    """What the next byte belongs to."""

    REQUEST = auto()  # nothing of it is there
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's, with an end to everything.

    A timer runs while a head is incomplete, and while a body still comes that has been answered already; one that the
    application reads is timed there. Another timer runs while an answer waits to be taken.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._telemetry: Telemetry = app_state["telemetry"]  # as the application's lifespan left it
        self._expected = _Expected.REQUEST
        self._is_refused = False
        self._head_bytes = 0  # of an incomplete head
        self._bytes_beside_body = 0  # since the last byte of the body: chunk extensions, trailers
        self._began_message = self._got_body = False  # in the bytes at hand
        self._incoming_timer: asyncio.TimerHandle | None = None
        self._outgoing_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        super().connection_made(transport)
        if len(self.connections) > self._limits.max_connections:
            self.connections.discard(self)  # one that is being closed keeps nobody out
            self._refuse(TooManyConnections(self._limits.max_connections))
            return
        self._expect_head_in_time()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_incoming_timer()
        if self._outgoing_timer is not None:
            self._outgoing_timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._began_message = self._got_body = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            self._refuse(cause if isinstance(cause, ServiceError) else MalformedRequest("its target is no URL"))
        except httptools.HttpParserError as exc:
            self._refuse(MalformedRequest(str(exc)))  # the parser's words are fixed ones
        else:
            self._count(len(data))

    def _count(self, num_bytes: int) -> None:
        """After bytes that were in order: is there too much of what has not ended yet?"""
        if self._expected is _Expected.BODY:
            self._bytes_beside_body = 0 if self._got_body else self._bytes_beside_body + num_bytes
            if self._bytes_beside_body > self._limits.max_header_bytes:
                self._refuse(HeadersTooLarge(self._limits.max_header_bytes))
            return
        if self._expected is _Expected.HEAD and not self._began_message:
            self._head_bytes += num_bytes
            if self._head_bytes > self._limits.max_header_bytes:
                self._refuse(HeadersTooLarge(self._limits.max_header_bytes))
                return
        if self._incoming_timer is None and (self._expected is _Expected.HEAD or self._has_answered()):
            self._expect_head_in_time()

    # Parser callbacks. An error raised in one comes out of `feed_data`.
    def on_url(self, url: bytes) -> None:
        if b"#" in url:
            raise MalformedRequest("its target has a fragment, which is for the caller alone")
        super().on_url(url)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expected = _Expected.HEAD
        self._began_message = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        self._check_head()
        self._cancel_incoming_timer()
        super().on_headers_complete()
        self._expected = _Expected.BODY
        self._bytes_beside_body = 0
        self.headers = []  # trailers go here, and no further: the application has seen the headers already

    def on_body(self, body: bytes) -> None:
        self._got_body = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expected = _Expected.REQUEST
        self._cancel_incoming_timer()
        super().on_message_complete()

    def _check_head(self) -> None:
        """Raises: ServiceError."""
        num_bytes = len(self.url)
        num_hosts = 0
        has_coding = False
        for name, value in self.headers:
            num_bytes += len(name) + len(value) + len(": \r\n")
            num_hosts += name == b"host"
            has_coding |= name == b"transfer-encoding"
        if num_bytes > self._limits.max_header_bytes:
            raise HeadersTooLarge(self._limits.max_header_bytes)
        is_1_1 = self.parser.get_http_version() == "1.1"
        if num_hosts > 1 or (is_1_1 and not num_hosts):
            raise MalformedRequest(f"it has {num_hosts} Host headers; send one")
        if has_coding and not is_1_1:
            raise MalformedRequest("HTTP/1.0 knows no Transfer-Encoding; send a Content-Length")
        if self.parser.should_upgrade():
            raise MalformedRequest(_UPGRADE)  # httptools would take the body for the other protocol's
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            raise MalformedRequest(f"more than {MAX_WAITING_REQUESTS} requests wait on this connection; read answers")

    # What ends a connection
    def _refuse(self, error: ServiceError) -> None:
        self._telemetry.turned_away.labels(PROBLEMS[type(error)].name).inc()
        self._cancel_incoming_timer()
        if not self._may_answer():
            self.transport.close()
            return
        if self._expected is _Expected.BODY:
            self.cycle.disconnected = True  # the application waits for the rest of it
            self.cycle.message_event.set()
        self._is_refused = True
        self.transport.write(service_problem_bytes(error, new_request_id()))
        if self.transport.can_write_eof():  # TLS cannot
            # To close while bytes still come would reset the connection, and the caller might never see the answer.
            self.transport.write_eof()
            self._incoming_timer = self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _may_answer(self) -> bool:
        """Whether the caller would take an answer for that to what is refused, and not to an earlier request."""
        if self._expected is _Expected.BODY:
            return not (self.pipeline or self.cycle.response_started)
        return self._has_answered()

    def _has_answered(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_head_in_time(self) -> None:
        self._incoming_timer = self.loop.call_later(self._limits.header_timeout_ms / 1_000, self._on_late_head)

    def _on_late_head(self) -> None:
        if self._expected is _Expected.HEAD:
            self._refuse(RequestTimedOut("head", self._limits.header_timeout_ms))
        else:
            self.transport.close()  # nobody has asked anything

    def on_response_complete(self) -> None:
        super().on_response_complete()
        body_timeout_s = self._limits.body_timeout_ms / 1_000
        if self._expected is _Expected.BODY and self._incoming_timer is None:
            self._incoming_timer = self.loop.call_later(body_timeout_s, self.transport.close)
        if self.transport.get_write_buffer_size():
            if self._outgoing_timer is not None:
                self._outgoing_timer.cancel()
            self._outgoing_timer = self.loop.call_later(body_timeout_s, self._on_untaken_answer)

    def _on_untaken_answer(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()  # `close` would wait until everything is sent

    def _cancel_incoming_timer(self) -> None:
        if self._incoming_timer is not None:
            self._incoming_timer.cancel()
            self._incoming_timer = None


def limited_protocol(settings: Settings) -> "partial[LimitedProtocol]":
    """What uvicorn makes connections with."""
    limits = ConnectionLimits(
        max_header_bytes=settings.max_header_bytes,
        header_timeout_ms=settings.header_timeout_ms,
        body_timeout_ms=settings.body_timeout_ms,
        max_connections=settings.max_connections,
    )
    return partial(LimitedProtocol, limits=limits)
