"""Request context: id, arrival time, outcome and answer headers of every request. Plain ASGI middleware."""

import os
import re
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinrank.service.api.headers import (
    OF_ALL_OTHERS,
    OF_RANKINGS,
    header,
    with_headers,
)
from dinrank.service.api.problems import ABANDONED, INTERNAL, OUTCOMES, REQUEST_ID_HEADER
from dinrank.service.telemetry.logs import current_request_id
from dinrank.service.telemetry.metrics import Stage, Telemetry

RANK_PATH = "/rank"

ARRIVED_S = "arrived_s"  # in the scope's state: time of arrival, by `time.monotonic`

_REQUEST_ID_BYTES = REQUEST_ID_HEADER.lower().encode()

_AS_IT_IS = (b"", b"identity")

_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")  # may go to logs and headers as it is


class RequestContext:
    """Gives every request an id and every answer its headers; times and counts ranking requests.

    HEAD is GET without the body of the answer, on every path.
    """

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        self._outcomes = {outcome: telemetry.tally.counter(telemetry.requests.labels(outcome)) for outcome in OUTCOMES}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        # Not reset: the task ends with the request, and later log lines, as the server's about a bug, belong to it.
        current_request_id.set(request_id)
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        state[ARRIVED_S] = time.monotonic()

        is_ranking = scope["path"] == RANK_PATH
        headers = ((_REQUEST_ID_BYTES, request_id.encode()), *(OF_RANKINGS if is_ranking else OF_ALL_OTHERS))

        async def send_with_headers(message: Message) -> None:
            await send(with_headers(message, headers) if message["type"] == "http.response.start" else message)

        if scope["method"] == "HEAD":
            await self._app({**scope, "method": "GET"}, receive, without_body(send_with_headers))
        elif is_ranking:
            await self._measured(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    async def _measured(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        state["outcome"] = ABANDONED
        try:
            with self._telemetry.timed(Stage.TOTAL):
                await self._app(scope, receive, send)
        except Exception:
            state["outcome"] = INTERNAL
            raise
        finally:
            self._outcomes[state["outcome"]].inc(1)


def without_body(send: Send) -> Send:
    """Wrap `send` to drop the body, for answers to HEAD."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


def new_request_id() -> str:
    return os.urandom(16).hex()


def _request_id(scope: Scope) -> str:
    sent = header(scope, _REQUEST_ID_BYTES)
    return sent if _SANE_ID.fullmatch(sent) else new_request_id()


DRAINING = "draining"  # in the lifespan's state, and so in every request's, from the start of a graceful shutdown
