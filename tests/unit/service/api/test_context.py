"""Ids, outcomes and the limit of a body, on the smallest application that shows them."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinrank.service.api.body import BodyLimit
from dinrank.service.api.context import RequestContext
from dinrank.service.telemetry.logs import current_request_id
from dinrank.service.telemetry.metrics import Telemetry

LIMIT = 10

DISCONNECT = {"type": "http.disconnect"}


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers with the body that it read."""
    message = await receive()
    assert message["more_body"] is False
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


async def never_called(scope: Scope, receive: Receive, send: Send) -> None:
    raise AssertionError("the application was reached")


def limited(app: ASGIApp) -> BodyLimit:
    return BodyLimit(app, max_body_bytes=LIMIT, timeout_ms=60_000)


def chunks(*bodies: bytes) -> list[dict[str, Any]]:
    return [
        {"type": "http.request", "body": body, "more_body": number < len(bodies)}
        for number, body in enumerate(bodies, start=1)
    ]


def call(
    app: ASGIApp, messages: Iterable[dict[str, Any]], headers: dict[str, str] | None = None
) -> tuple[list[Message], list[dict[str, Any]]]:
    """What the application sends, and which messages it did not read."""
    unread = list(messages)
    sent: list[Message] = []

    async def receive() -> Message:
        return unread.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/rank",
        "query_string": b"",
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "state": {"request_id": "r1"},
    }

    async def answered() -> None:
        await app(scope, receive, send)

    asyncio.run(answered())
    return sent, unread


@pytest.mark.parametrize("bodies", [[b"0123456789"], [b"01234", b"56789"], [b"", b"x", b""], [b""]])
def test_a_body_within_the_limit_arrives_whole(bodies: list[bytes]) -> None:
    sent, _ = call(limited(echo), chunks(*bodies))
    assert sent[1]["body"] == b"".join(bodies)


def test_a_body_over_the_limit_is_refused_as_soon_as_it_is() -> None:
    sent, unread = call(limited(never_called), chunks(b"012345", b"678901", b"unread"))
    assert sent[0]["status"] == 413
    assert [message["body"] for message in unread] == [b"unread"]


def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    sent, unread = call(limited(never_called), chunks(b"x"), {"Content-Length": "11"})
    assert sent[0]["status"] == 413
    assert len(unread) == 1


def test_a_length_announced_too_small_does_not_help() -> None:
    sent, _ = call(limited(never_called), chunks(b"x" * 11), {"Content-Length": "1"})
    assert sent[0]["status"] == 413


def test_a_caller_who_hangs_up_gets_no_answer() -> None:
    sent, _ = call(limited(never_called), [*chunks(b"x", b"")[:1], DISCONNECT])
    assert sent == []


def test_a_body_that_does_not_arrive_is_waited_for_so_long_and_no_longer() -> None:
    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError("nothing ever arrives")

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "path": "/rank", "headers": [], "state": {"request_id": "r1"}}
    asyncio.run(BodyLimit(never_called, max_body_bytes=LIMIT, timeout_ms=20)(scope, receive, send))
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]  # what may still come is nobody's
    assert b"the body did not arrive within 20 ms" in sent[1]["body"]


def outcomes(telemetry: Telemetry) -> str:
    """Those that were counted."""
    lines = telemetry.exposition().decode().splitlines()
    return "\n".join(line for line in lines if "_requests_total{" in line and not line.endswith(" 0.0"))


def test_a_request_without_an_outcome_was_abandoned() -> None:
    telemetry = Telemetry()
    call(RequestContext(limited(never_called), telemetry=telemetry), [DISCONNECT])
    assert outcomes(telemetry) == 'dinrank_requests_total{outcome="abandoned"} 1.0'


@pytest.mark.parametrize("sane", ["abc", "6f1c0b6e-0d5b.4b_6f", "x" * 128])
def test_a_sane_request_id_is_kept(sane: str) -> None:
    sent, _ = call(RequestContext(echo, telemetry=Telemetry()), chunks(b""), {"X-Request-ID": sane})
    assert (b"x-request-id", sane.encode()) in sent[0]["headers"]


def test_what_the_server_logs_of_a_bug_has_the_requests_id() -> None:
    """It writes the traceback after all layers have ended, in the same task."""

    async def seen_afterwards() -> str:
        scope = {"type": "http", "method": "POST", "path": "/rank", "headers": [(b"x-request-id", b"r-7")]}
        with pytest.raises(AssertionError, match="reached"):
            await RequestContext(never_called, telemetry=Telemetry())(scope, never_received, never_sent)
        return current_request_id.get()

    assert asyncio.run(seen_afterwards()) == "r-7"
    assert current_request_id.get() == ""


async def never_received() -> Message:
    raise AssertionError("nothing is read")


async def never_sent(message: Message) -> None:
    raise AssertionError("nothing is sent")


@pytest.mark.parametrize("insane", ["", "two words", 'a"b', "x" * 129, "ä", "a\tb"])
def test_any_other_request_id_is_replaced(insane: str) -> None:
    sent, _ = call(RequestContext(echo, telemetry=Telemetry()), chunks(b""), {"X-Request-ID": insane})
    [(_, value)] = [header for header in sent[0]["headers"] if header[0] == b"x-request-id"]
    assert len(value) == 32
    assert value != insane.encode()
