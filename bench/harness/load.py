"""The load generator, a process of its own: reads its order from stdin and answers with one JSON document.

Two modes. Closed: each connection sends its next request when the last is answered; answers per second are the
service's saturation. Open: requests are due at times fixed in advance, whatever the service does; latency counts from
the due time, which avoids coordinated omission. Sends only to 127.0.0.1.

It shares the cores with the service, so requests are prepared bytes and answers are parsed no more than needed.
`select` and not `epoll`: its time-outs are finer than a millisecond.
"""

import asyncio
import json
import selectors
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from itertools import count, cycle
from pathlib import Path
from typing import Any

import httptools
import numpy as np

HOST = "127.0.0.1"

DEGRADED = b'"degraded":["'  # in a degraded answer of the product

_DRAIN_S = 5.0  # wait of an open load for answers after its last request was due

_CONNECT_PAUSE_S = 0.01  # between connections, so that every worker gets some


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One load to generate.

    Attributes:
        bodies: file with a JSON body of `POST /rank` per line, sent in turn.
        connections: maximum number of open ones.
        seconds: of sending.
        rate: requests per second of an open load; None is a closed one.
        is_poisson: an open load's requests arrive at random with that mean rate, not evenly.
    """

    port: int
    bodies: str
    connections: int
    seconds: float
    rate: float | None = None
    is_poisson: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Result of one load.

    Attributes:
        sent: requests that were due.
        answered: with status 200.
        errors: all others: another status, a lost connection, or no answer in time.
        refused: those of the errors that came with status 503.
        degraded: answers with 200 that are marked as degraded.
        seconds: from the first request to the last answer that counts.
        latencies_ms: percentiles over all requests; one without an answer counts with its waiting time.
        lateness_ms: 99th percentile of the delay in sending requests, caused by the generator or by the lack of a
            free connection. It is part of the latencies.
        answered_ms: percentiles over the answered ones.
        cpu_s: CPU time of the generator.
    """

    sent: int
    answered: int
    errors: int
    degraded: int
    seconds: float
    latencies_ms: dict[str, float]
    lateness_ms: float
    cpu_s: float
    refused: int = 0
    answered_ms: dict[str, float] = field(default_factory=dict)

    @property
    def per_second(self) -> float:
        """Return full answers per second: degraded ones are cheaper and do not count."""
        return (self.answered - self.degraded) / self.seconds


def due_times(rate: float, seconds: float, *, is_poisson: bool, seed: int = 0) -> list[float]:
    """Return the due times of requests, in seconds from the start: evenly, or at random with the same mean."""
    num_requests = max(1, round(rate * seconds))
    if not is_poisson:
        return [number / rate for number in range(num_requests)]
    gaps = np.random.default_rng(seed).exponential(1 / rate, size=num_requests)
    times: list[float] = (np.cumsum(gaps) - gaps[0]).tolist()
    return times


def percentiles(values_ms: Sequence[float]) -> dict[str, float]:
    """Return nearest-rank percentiles: the smallest value that at least p per cent do not exceed."""
    ordered = np.sort(np.asarray(values_ms))
    return {f"p{share}": float(ordered[int(np.ceil(share / 100 * len(ordered))) - 1]) for share in (50, 95, 99)}


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._answer: asyncio.Future[int] | None = None
        self.is_open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    async def send(self, request: bytes) -> int:
        """Send; return the status of the answer, -200 for a degraded one. Raises: ConnectionError."""
        if not self.is_open:
            raise ConnectionResetError("closed by the service")
        self._answer = asyncio.get_running_loop().create_future()
        self._parser, self._is_degraded = httptools.HttpResponseParser(self), False
        self._transport.write(request)
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        self._is_degraded |= DEGRADED in body

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        self._settle(-status if self._is_degraded and status == 200 else status)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("lost before the answer"))

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def _settle(self, status: int) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(status)


class Records:
    """Record of each request."""

    def __init__(self) -> None:
        self.latencies_s: list[float] = []
        self.lateness_s: list[float] = []
        self.statuses: list[int] = []

    def add(self, *, due: float, sent: float, status: int) -> None:
        self.latencies_s.append(time.perf_counter() - due)
        self.lateness_s.append(sent - due)
        self.statuses.append(status)

    def outcome(self, started: float, cpu_started: float, ended: float) -> Outcome:
        degraded = self.statuses.count(-200)
        answered = self.statuses.count(200) + degraded
        answered_ms = [
            1e3 * latency
            for latency, status in zip(self.latencies_s, self.statuses, strict=True)
            if abs(status) == HTTPStatus.OK
        ]
        return Outcome(
            sent=len(self.statuses),
            answered=answered,
            errors=len(self.statuses) - answered,
            degraded=degraded,
            seconds=ended - started,
            latencies_ms=percentiles([1e3 * latency for latency in self.latencies_s]),
            lateness_ms=percentiles([1e3 * lateness for lateness in self.lateness_s])["p99"],
            cpu_s=time.process_time() - cpu_started,
            refused=self.statuses.count(HTTPStatus.SERVICE_UNAVAILABLE),
            answered_ms=percentiles(answered_ms) if answered_ms else {},
        )


async def _connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, HOST, port)
    return connection


async def _connect_all(order: Order) -> list[Connection]:
    connections = []
    for _ in range(order.connections):
        connections.append(await _connect(order.port))
        await asyncio.sleep(_CONNECT_PAUSE_S)
    return connections


async def closed_load(order: Order, requests: Sequence[bytes]) -> Outcome:
    """Send as fast as the service answers. Raises: ConnectionError, if it hangs up."""
    connections = await _connect_all(order)
    records, numbers = Records(), count()
    cpu_started, started = time.process_time(), time.perf_counter()

    async def keep_busy(connection: Connection) -> None:
        while (sent := time.perf_counter()) < started + order.seconds:
            status = await connection.send(requests[next(numbers) % len(requests)])
            records.add(due=sent, sent=sent, status=status)

    await asyncio.gather(*map(keep_busy, connections))
    ended = time.perf_counter()
    for connection in connections:
        connection.close()
    return records.outcome(started, cpu_started, ended)


async def open_load(order: Order, requests: Sequence[bytes]) -> Outcome:
    """Send at fixed times. A request waits if no connection is free, and its latency includes that."""
    assert order.rate is not None
    free: asyncio.Queue[Connection] = asyncio.Queue()  # first in, first out: connections are used evenly
    for connection in await _connect_all(order):
        free.put_nowait(connection)
    records = Records()
    times = due_times(order.rate, order.seconds, is_poisson=order.is_poisson)
    cpu_started, started = time.process_time(), time.perf_counter()
    give_up = started + times[-1] + _DRAIN_S

    async def send(request: bytes, due: float) -> None:
        sent, status = time.perf_counter(), 0
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(give_up - sent):
                connection = await free.get()
                try:
                    sent = time.perf_counter()
                    if not connection.is_open:  # services close idle connections
                        connection = await _connect(order.port)
                    status = await connection.send(request)
                finally:
                    if status == 0:
                        connection.close()
                    free.put_nowait(connection)
        records.add(due=due, sent=sent, status=status)

    tasks = []
    for offset, request in zip(times, cycle(requests), strict=False):
        due = started + offset
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        tasks.append(asyncio.create_task(send(request, due)))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    while not free.empty():
        free.get_nowait().close()
    return records.outcome(started, cpu_started, max(ended, started + order.seconds))


def read_requests(order: Order) -> list[bytes]:
    head = f"POST /rank HTTP/1.1\r\nHost: {HOST}:{order.port}\r\nContent-Type: application/json\r\n"
    bodies = Path(order.bodies).read_bytes().splitlines()
    return [f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body for body in bodies]


def main() -> None:
    order = Order(**json.loads(sys.stdin.read()))
    load = closed_load if order.rate is None else open_load

    def fine_loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(selectors.SelectSelector())

    with asyncio.Runner(loop_factory=fine_loop) as runner:
        outcome = runner.run(load(order, read_requests(order)))
    answer: dict[str, Any] = asdict(outcome)
    print(json.dumps(answer))  # noqa: T201 the answer


if __name__ == "__main__":
    main()
