"""HTTP protocol of one connection, with limits on what it may cost before a request and after its answer.

uvicorn and httptools parse HTTP without limits: a head may be endless, arrive a byte a minute, or never; an answer
that is not read stays in memory. Here each of these has a limit. A refused request gets a problem, after the answers to
the requests before it, if the answer is unambiguous; otherwise the connection is closed.
"""

import asyncio
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from dinrank.service.api.context import new_request_id
from dinrank.service.api.problems import PROBLEMS, service_problem_bytes
from dinrank.service.errors import (
    HeadersTooLarge,
    MalformedRequest,
    PipelineTooLong,
    RequestTimedOut,
    ServiceError,
    TooManyConnections,
)
from dinrank.service.process.places import Ease, Places
from dinrank.service.process.strict_http import check_head, refuse_version_0_9
from dinrank.service.process.transports import HalfClosed, OpenTransport
from dinrank.service.settings import Settings
from dinrank.service.telemetry.metrics import Telemetry

MAX_WAITING_REQUESTS = 16  # of one connection that sends requests without reading answers

_LINGER_S = 1.0  # how long a refused caller may take to stop sending

_MAX_BESIDE_BYTE = 16  # bytes of chunk overhead per body byte; a chunk of one byte has five

_UPGRADE = "this service speaks only HTTP/1.1; send no Upgrade header (Java: HttpClient.Version.HTTP_1_1)"


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection, and the number of connections per worker."""

    max_header_bytes: int
    header_timeout_ms: int
    body_timeout_ms: int
    max_connections: int

    @classmethod
    def of(cls, settings: Settings, *, max_connections: int) -> "ConnectionLimits":
        return cls(
            max_header_bytes=settings.max_header_bytes,
            header_timeout_ms=settings.header_timeout_ms,
            body_timeout_ms=settings.body_timeout_ms,
            max_connections=max_connections,
        )


class _Expected(Enum):
    """The part of a message that comes next."""

    REQUEST = auto()  # no byte of it has arrived
    HEAD = auto()
    BODY = auto()


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with limits and timeouts.

    A timer runs while a head is incomplete, and while a body that was answered already still arrives; the application
    times the bodies that it reads. Another timer runs while an answer waits to be read.

    Attributes:
        has_place: a connection without a place is told so and closed.
        opening: the task that opens the connection, until `connection_made`; a TLS handshake for instance.
    """

    has_place = True
    opening: "asyncio.Task[object] | None" = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        *,
        limits: ConnectionLimits,
        places: Places,
        app: ASGI3Application | None = None,
    ) -> None:
        """Args:
        app: overrides the configured one.
        """
        super().__init__(config, server_state, app_state)
        if app is not None:
            self.app = app
        self._limits = limits
        self._places = places
        self._telemetry: Telemetry = app_state["telemetry"]  # set by the application's lifespan
        self._raw: asyncio.Transport | None = None  # `transport` is its writing side
        self._running: RequestResponseCycle | None = None  # the request being answered, or the last one
        self._expected = _Expected.REQUEST
        self._gave_way = False  # before the connection was made
        self._is_refused = False
        self._put_off: ServiceError | None = None  # to be sent after the answers to earlier requests
        self._head_bytes = 0  # of an incomplete head
        self._body_bytes = self._bytes_with_body = 0  # of a body, without the bytes that arrived with its head
        self._is_first_part = False  # the current bytes hold the start of a message or of its body
        self._incoming_timer: asyncio.TimerHandle | None = None
        self._outgoing_timer: asyncio.TimerHandle | None = None
        self._half_closed: HalfClosed | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        if self._gave_way:
            transport.abort()
            return
        super().connection_made(transport)
        self._raw = transport
        self.transport = OpenTransport(transport)  # type: ignore[assignment]  # has all that uvicorn uses from here on
        if self.has_place:
            self._expect_head_in_time()
        else:
            self.connections.discard(self)  # a stopping server need not wait for it
            self._refuse(TooManyConnections(self._places.limit))

    def connection_lost(self, exc: Exception | None) -> None:
        self._places.leave(self)
        if self._raw is None:
            return
        self._cancel_incoming_timer()
        if self._outgoing_timer is not None:
            self._outgoing_timer.cancel()
        if self._half_closed is not None:
            self._half_closed.forget()
        self.pipeline.clear()  # nobody reads these answers
        if self._running is not None and not self._running.response_complete:  # uvicorn notifies only the last request
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes the connection at once
        """Answer the requests received, then close.

        Returns:
            True if the connection stays open for that.
        """
        if self._half_closed is not None:
            return True
        if self._raw is None or self.scheme == "https" or not self._give_up_incomplete():
            return False
        if self._has_answered():
            return False
        self._is_refused = True
        if self._put_off is None:
            last = self.pipeline[0][0] if self.pipeline else self._running
            assert last is not None
            last.keep_alive = False
        self._half_closed = HalfClosed(self._raw, may_interrupt=self._may_interrupt)
        return True

    def _may_interrupt(self) -> bool:
        running = self._running
        if running is None or running.response_started or self.transport.is_closing():
            return False
        return running.scope["http_version"] == "1.1"  # HTTP/1.0 has no interim answers

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        self._is_first_part = False
        try:
            self.parser.feed_data(data)
            self._count(data)
        except httptools.HttpParserCallbackError as exc:
            cause = exc.__context__
            self._refuse(cause if isinstance(cause, ServiceError) else MalformedRequest("its target is not a URL"))
        except httptools.HttpParserError as exc:
            self._refuse(MalformedRequest(str(exc)))  # the parser's messages are constants
        except ServiceError as exc:
            self._refuse(exc)

    def _count(self, data: bytes) -> None:
        """Apply the size limits to an incomplete head or body, after bytes that parsed well.

        Raises:
            HeadersTooLarge, MalformedRequest
        """
        if self._expected is _Expected.BODY:
            self._count_with_body(len(data))
            return
        if self._expected is _Expected.HEAD:
            refuse_version_0_9(
                self.parser.get_http_version(), has_target=bool(self.url), ends_line=data.endswith(b"\n")
            )
            if not self._is_first_part:
                self._head_bytes += len(data)
                if self._head_bytes > self._limits.max_header_bytes:
                    raise HeadersTooLarge(self._limits.max_header_bytes)
        if self._incoming_timer is None and (self._expected is _Expected.HEAD or self._has_answered()):
            self._expect_head_in_time()

    def _count_with_body(self, num_bytes: int) -> None:
        """Limit chunk sizes, extensions and trailers, which the parser does not."""
        if self._is_first_part:
            self._body_bytes = self._bytes_with_body = 0
            return
        self._bytes_with_body += num_bytes
        beside = self._bytes_with_body - self._body_bytes
        if beside > self._limits.max_header_bytes + _MAX_BESIDE_BYTE * self._body_bytes:
            raise HeadersTooLarge(self._limits.max_header_bytes)

    # Parser callbacks. `feed_data` propagates their errors.
    def on_url(self, url: bytes) -> None:
        if b"#" in url:
            raise MalformedRequest("its target has a fragment, which must not be sent")
        super().on_url(url)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expected = _Expected.HEAD
        self._is_first_part = True
        self._head_bytes = 0

    def on_headers_complete(self) -> None:
        parser = self.parser
        version = parser.get_http_version()
        limit = self._limits.max_header_bytes
        check_head(parser.get_method(), self.url, version, self.headers, max_bytes=limit)
        if parser.should_upgrade():
            raise MalformedRequest(_UPGRADE)  # httptools would treat the body as the other protocol's
        if len(self.pipeline) >= MAX_WAITING_REQUESTS:
            raise PipelineTooLong(MAX_WAITING_REQUESTS)
        self._cancel_incoming_timer()
        super().on_headers_complete()
        self._expected = _Expected.BODY
        self._is_first_part = True
        self.headers = []  # collects trailers, which are dropped: the application has the headers already

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._expected = _Expected.REQUEST
        self._cancel_incoming_timer()
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # Refusals and timeouts
    def _refuse(self, error: ServiceError) -> None:
        self._telemetry.turned_away.labels(PROBLEMS[type(error)].name).inc()
        self._cancel_incoming_timer()
        self._is_refused = True
        if not self._give_up_incomplete():
            self.transport.close()
        elif self._has_answered():
            self._tell(error)
        else:
            self._put_off = error

    def _give_up_incomplete(self) -> bool:
        """Drop the request with the incomplete body; those before it get their answers.

        Returns:
            False if its answer has begun, so that no other can be sent instead.
        """
        if self._expected is not _Expected.BODY:
            return True
        if self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()
            return True
        if self.cycle.response_started:
            return False
        self.cycle.disconnected = True  # the application waits for the rest of the body
        self.cycle.waiting_for_100_continue = False
        self.cycle.message_event.set()
        self._running = None
        return True

    def _tell(self, error: ServiceError) -> None:
        """Send the last answer of this connection."""
        assert self._raw is not None
        self.transport.write(service_problem_bytes(error, new_request_id()))
        if self._half_closed is None and self._raw.can_write_eof():  # TLS cannot
            # Closing while bytes still arrive would reset the connection, and the caller might miss the answer.
            self._raw.write_eof()
            self._incoming_timer = self.loop.call_later(_LINGER_S, self.transport.close)
        else:
            self.transport.close()

    def _has_answered(self) -> bool:
        return self._running is None or self._running.response_complete

    def _expect_head_in_time(self) -> None:
        self._incoming_timer = self.loop.call_later(self._limits.header_timeout_ms / 1_000, self._on_late_head)

    def _on_late_head(self) -> None:
        if self._expected is _Expected.HEAD:
            self._refuse(RequestTimedOut("head", self._limits.header_timeout_ms))
        else:
            self.transport.close()  # there is no request to answer

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._raw is None or self._raw.is_closing():
            return
        self._places.note_activity(self)
        if self._put_off is not None and self._has_answered():
            self._tell(self._put_off)
            return
        if self._expected is _Expected.BODY and self._incoming_timer is None:
            self._incoming_timer = self.loop.call_later(self._limits.body_timeout_ms / 1_000, self.transport.close)
        if self._raw.get_write_buffer_size():
            if self._outgoing_timer is not None:
                self._outgoing_timer.cancel()
            body_timeout_s = self._limits.body_timeout_ms / 1_000
            self._outgoing_timer = self.loop.call_later(body_timeout_s, self._on_untaken_answer)

    def _on_untaken_answer(self) -> None:
        assert self._raw is not None
        if self._raw.get_write_buffer_size():
            self._raw.abort()  # `close` would wait until everything is sent

    def _cancel_incoming_timer(self) -> None:
        if self._incoming_timer is not None:
            self._incoming_timer.cancel()
            self._incoming_timer = None

    # `Holder`
    def ease(self) -> Ease | None:
        """Return how easily it can be evicted; None while a request is being answered."""
        if self._raw is None:
            return Ease.IDLE
        if self._waits_for_body():
            return Ease.STUCK
        if not self._has_answered():
            return None
        if self._expected is _Expected.HEAD:
            return Ease.IN_HEAD
        return Ease.STUCK if self._raw.get_write_buffer_size() else Ease.IDLE

    def _waits_for_body(self) -> bool:
        if self._expected is not _Expected.BODY or self.cycle is not self._running:
            return False
        return self.cycle.response_complete or not self.cycle.response_started

    def give_way(self) -> None:
        """Close at once."""
        if self._raw is not None:
            self._raw.abort()
        elif self.opening is not None:
            self._gave_way = True  # `connection_made` may still be called in the same turn of the event loop
            self.opening.cancel()
