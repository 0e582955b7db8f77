"""The load generator's arithmetic, and what it makes of services whose answers are known."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.harness import load
from bench.harness.load import Order, Outcome, closed_load, due_times, open_load, percentiles

Reaction = Callable[[asyncio.Transport], None]

REQUESTS = [b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"]


def test_percentiles_are_values_that_occurred() -> None:
    assert percentiles(range(1, 101)) == {"p50": 50, "p95": 95, "p99": 99}
    assert percentiles([7.0]) == {"p50": 7.0, "p95": 7.0, "p99": 7.0}


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1))
def test_so_many_per_cent_do_not_exceed_a_percentile(values: list[float]) -> None:
    for share, value in zip((50, 95, 99), percentiles(values).values(), strict=True):
        assert 100 * sum(each <= value for each in values) >= share * len(values)
        assert 100 * sum(each < value for each in values) < share * len(values)


def test_requests_are_due_evenly() -> None:
    assert due_times(4.0, 1.5, is_poisson=False) == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]


def test_even_the_lowest_load_is_one_request() -> None:
    assert due_times(0.1, 1.0, is_poisson=False) == [0.0]


def test_random_times_have_the_rate_as_their_mean_and_vary_as_a_poisson_process() -> None:
    times = due_times(50.0, 200.0, is_poisson=True)
    gaps = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert times[0] == 0.0
    assert min(gaps) >= 0.0
    # 10,000 gaps: both are within 4 % of 1/50 with a margin of four standard errors.
    assert mean == pytest.approx(1 / 50, rel=0.04)
    assert deviation == pytest.approx(1 / 50, rel=0.06)


def answer(body: bytes = b"{}", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 " + status + b"\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body


class Stub(asyncio.Protocol):
    """A service: what it does on a request is told by `react`."""

    def __init__(self, react: Reaction, transports: list[asyncio.Transport]) -> None:
        self._react = react
        self._transports = transports
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._transports.append(transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._received = (self._received + data).split(b"{}")
        for _ in requests:
            self._react(self._transport)


def always(reply: bytes) -> Reaction:
    return lambda transport: transport.write(reply)


def run(react: Reaction, **order: Any) -> Outcome:
    """A load on a service of this test's own."""

    async def loaded() -> Outcome:
        transports: list[asyncio.Transport] = []
        server = await asyncio.get_running_loop().create_server(lambda: Stub(react, transports), load.HOST, 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            chosen = Order(**{"port": port, "bodies": "", "connections": 3, "seconds": 0.02, **order})
            outcome = await (closed_load if chosen.rate is None else open_load)(chosen, REQUESTS)
            for transport in transports:
                transport.abort()
            await asyncio.sleep(0)  # both ends learn of it
            return outcome

    return asyncio.run(loaded())


def test_a_closed_load_counts_what_was_answered() -> None:
    outcome = run(always(answer()))
    assert outcome.sent == outcome.answered > 0
    assert (outcome.errors, outcome.degraded) == (0, 0)
    assert outcome.per_second == outcome.answered / outcome.seconds


def test_an_open_load_sends_what_is_due_and_no_more() -> None:
    outcome = run(always(answer()), rate=1_000.0)
    assert (outcome.sent, outcome.answered, outcome.errors) == (20, 20, 0)


def test_an_open_load_goes_on_sending_while_nothing_is_answered() -> None:
    waiting: list[asyncio.Transport] = []

    def answer_when_all_are_there(transport: asyncio.Transport) -> None:
        waiting.append(transport)
        if len(waiting) == 20:
            for each in waiting:
                each.write(answer())

    outcome = run(answer_when_all_are_there, rate=1_000.0, connections=20)
    assert (outcome.sent, outcome.answered) == (20, 20)


@pytest.mark.parametrize("rate", [None, 1_000.0])
def test_another_status_is_an_error(rate: float | None) -> None:
    outcome = run(always(answer(status=b"503 Service Unavailable")), rate=rate)
    assert outcome.answered == 0
    assert outcome.errors == outcome.refused == outcome.sent > 0
    assert outcome.answered_ms == {}


def test_a_refusal_is_told_from_other_errors_and_its_latency_from_those_of_answers() -> None:
    replies = [
        answer(),
        answer(status=b"503 Service Unavailable"),
        answer(status=b"500 Internal Server Error"),
        answer(),
    ]

    def react(transport: asyncio.Transport) -> None:
        transport.write(replies.pop())

    outcome = run(react, rate=200.0)
    assert (outcome.sent, outcome.answered, outcome.refused, outcome.errors) == (4, 2, 1, 2)
    assert outcome.answered_ms["p99"] > 0.0


@pytest.mark.parametrize(("body", "is_degraded"), [(b'{"degraded":["behaviours"]}', True), (b'{"degraded":[]}', False)])
def test_a_degraded_answer_is_counted_as_one(body: bytes, is_degraded: bool) -> None:
    outcome = run(always(answer(body)), rate=1_000.0)
    assert (outcome.answered, outcome.errors) == (20, 0)
    assert outcome.degraded == (20 if is_degraded else 0)
    assert (outcome.per_second > 0.0) is not is_degraded


def test_a_request_that_is_never_answered_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "_DRAIN_S", 0.05)
    outcome = run(always(b""), rate=100.0, seconds=0.05, connections=1)
    assert (outcome.sent, outcome.answered, outcome.errors) == (5, 0, 5)


def test_a_service_that_hangs_up_costs_the_request_and_not_the_load() -> None:
    def answer_once(transport: asyncio.Transport) -> None:
        transport.write(answer())
        transport.close()

    outcome = run(answer_once, rate=100.0, seconds=0.05, connections=1)
    assert outcome.sent == 5
    assert outcome.answered >= 1
    assert outcome.answered + outcome.errors == 5


def test_bodies_are_sent_in_turn_with_their_length(tmp_path: Any) -> None:
    bodies = tmp_path / "bodies"
    bodies.write_bytes(b'{"a": 1}\n{"b": 22}')
    requests: Sequence[bytes] = load.read_requests(
        Order(port=80, bodies=str(bodies), connections=1, seconds=1.0, rate=1.0)
    )
    heads, sent = zip(*(request.split(b"\r\n\r\n") for request in requests), strict=True)
    assert sent == (b'{"a": 1}', b'{"b": 22}')
    assert [head.rpartition(b": ")[2] for head in heads] == [b"8", b"9"]
