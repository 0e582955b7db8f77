"""What callers can do to the service."""

import asyncio
import json
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

import httpx

from tests.chaos.beside import beside
from tests.chaos.bundle_faults import wait_until_all_serve
from tests.chaos.driver import problem_name
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, ROOT, Ground
from tests.chaos.traffic import requests
from tests.fixtures.slow_bundle import QUICK_UP_TO, bundle_that_is_slow_for_many

OVERLOADED = frozenset({"overloaded"})
# Little waits, so that a crowd of a size that a test can have is too much.
_SHORT_QUEUE = {"DINRANK_MAX_WAITING": "4"}
_JSON = {"Content-Type": "application/json"}
_HEAD = b"POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_SLOW_CLIENTS = 100
_HEALTH_LIMIT_S = 2.0
_HURRY_MS = 100
_LONG_CANDIDATES = QUICK_UP_TO + 60  # scored for some 4 s


@contextmanager
def _crowded(ground: Ground) -> Iterator[None]:
    """See `tests.chaos.crowd`."""
    command = [sys.executable, "-m", "tests.chaos.crowd", str(ground.service.port)]
    with healthy(ground):
        crowd = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            yield
        finally:
            output, _ = crowd.communicate()
    said = json.loads(output)
    seen = said["seen"]
    ground.expect(seen.keys() <= {"ok", "overloaded"}, f"every caller gets a ranking or a refusal, and not {seen}")
    ground.expect(seen.get("overloaded", 0) > 0, f"there were more requests than it can take: {seen}")
    ground.expect(seen.get("ok", 0) > 0, f"some are answered meanwhile: {seen}")
    ground.expect((said["shortest_retry_after_s"] or 1) >= 1, "a refusal says when to come again")


@contextmanager
def _hasty(ground: Ground) -> Iterator[None]:
    """Callers with deadlines that cannot be kept: they are told so, and cost the others nothing."""
    seen: Counter[str] = Counter()
    body = next(requests()).body()

    async def call(client: httpx.AsyncClient) -> None:
        response = await client.post("/rank", content=body, headers={**_JSON, "X-Deadline-Ms": "1"})
        seen["ok" if response.is_success else problem_name(response)] += 1
        await asyncio.sleep(0.05)

    with _background(ground, call, callers=5):
        yield
    ground.expect(seen.keys() <= {"ok", "deadline-too-short"}, f"a ranking or the right refusal, and not {seen}")


@contextmanager
def _behind_long_ones(ground: Ground) -> Iterator[None]:
    """Scorings that take seconds keep both workers' threads; callers with deadlines are told no in time."""
    home = ground.directory / "slow-for-many"
    home.mkdir()
    slow = bundle_that_is_slow_for_many(home)
    version = ground.version_of(slow)
    ground.driver.shifts[version] = 0.0
    short, long = (_ranking(number) for number in (1, _LONG_CANDIDATES))
    seen: Counter[str] = Counter()
    longest_s = 0.0

    async def occupy(client: httpx.AsyncClient) -> None:
        await client.post("/rank", content=long, headers=_JSON)
        await asyncio.sleep(0.05)

    async def hurry(client: httpx.AsyncClient) -> None:
        nonlocal longest_s
        began_s = time.monotonic()
        response = await client.post("/rank", content=short, headers={**_JSON, "X-Deadline-Ms": str(_HURRY_MS)})
        longest_s = max(longest_s, time.monotonic() - began_s)
        seen["ok" if response.is_success else problem_name(response)] += 1
        await asyncio.sleep(0.05)

    ground.switch_to(slow)
    wait_until_all_serve(ground, version)
    with _background(ground, occupy, callers=6), _background(ground, hurry, callers=5), healthy(ground):
        yield
    ground.expect(
        seen.keys() <= {"ok", "deadline-too-short", "overloaded"}, f"a ranking or the right refusal, and not {seen}"
    )
    ground.expect(seen["deadline-too-short"] + seen["overloaded"] > 0, f"the threads were taken: {seen}")
    ground.expect(
        longest_s < _HURRY_MS / 1_000 + _HEALTH_LIMIT_S,
        f"a deadline of {_HURRY_MS} ms holds, and not {longest_s:.1f} s",
    )
    ground.switch_to(ground.bundle_a)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_a))


def _ranking(num_candidates: int) -> bytes:
    return json.dumps({"user_id": "user-1", "candidates": [{"ad_id": "1", "bid": 1.0}] * num_candidates}).encode()


@contextmanager
def _hanging_up(ground: Ground) -> Iterator[None]:
    """Callers that send a request and go without waiting for the answer."""
    body = next(requests()).body()
    message = _HEAD + f"Content-Length: {len(body)}\r\n\r\n".encode() + body

    async def call(client: httpx.AsyncClient) -> None:
        _, writer = await asyncio.open_connection(HOST, ground.service.port)
        writer.write(message)
        await writer.drain()
        writer.close()
        await asyncio.sleep(0.05)

    with _background(ground, call, callers=5), healthy(ground):
        yield


@contextmanager
def _slow(ground: Ground) -> Iterator[None]:
    """Callers that send their headers, or their body, byte by byte."""

    async def call(client: httpx.AsyncClient) -> None:
        start = b"POST /rank HTTP/1.1\r\nX-Slow: " if random.random() < 0.5 else _HEAD + b"Content-Length: 9999\r\n\r\n"
        _, writer = await asyncio.open_connection(HOST, ground.service.port)
        try:
            writer.write(start)
            for _ in range(20):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.2)
        finally:
            writer.close()

    with _background(ground, call, callers=_SLOW_CLIENTS), healthy(ground):
        yield


@contextmanager
def _garbage(ground: Ground) -> Iterator[None]:
    """Bodies that are none, among the others: each is refused as the caller's fault."""
    seen: Counter[int] = Counter()

    async def call(client: httpx.AsyncClient) -> None:
        response = await client.post("/rank", content=random.choice(_GARBAGE), headers=_JSON)
        seen[response.status_code] += 1
        await asyncio.sleep(0.05)

    with _background(ground, call, callers=5), healthy(ground):
        yield
    ground.expect(seen.keys() <= {400, 413, 422}, f"a fault of the caller's is told to be one, and not {seen}")


_GARBAGE = (
    b"",
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": NaN}]}',
    b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1e999}]}',
    b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": -1}]}',
    b'{"user_id": "1", "candidates": []}',
    b'{"user_id": 1' + b"0" * 5_000 + b"}",
    b"x" * 10_000_000,
)


@contextmanager
def _background(
    ground: Ground, call: Callable[[httpx.AsyncClient], Awaitable[None]], *, callers: int
) -> Iterator[None]:
    """So many callers that call again and again from a thread of their own while the block runs."""

    async def call_again(client: httpx.AsyncClient, over: threading.Event) -> None:
        while not over.is_set():
            # What the service may not do to these callers is looked at where they get answers.
            with suppress(httpx.TransportError, OSError):
                await call(client)

    async def all_callers(over: threading.Event) -> None:
        limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
        base_url = f"http://{HOST}:{ground.service.port}"
        async with httpx.AsyncClient(base_url=base_url, limits=limits, timeout=30.0) as client:
            await asyncio.gather(*(call_again(client, over) for _ in range(callers)))

    with beside(lambda over: asyncio.run(all_callers(over))):
        yield


@contextmanager
def healthy(ground: Ground, address: str = "") -> Iterator[None]:
    """Health checks are answered while the block runs.

    Args:
        address: of another service than the ground's.
    """
    asked = address or f"http://{HOST}:{ground.service.port}"

    def look(over: threading.Event) -> None:
        while not over.wait(0.2):
            for path in ("/livez", "/readyz"):
                try:
                    response = httpx.get(f"{asked}{path}", timeout=_HEALTH_LIMIT_S, verify=False)
                except httpx.TransportError as exc:
                    ground.expect(False, f"{path} answers within {_HEALTH_LIMIT_S} s, and not: {exc!r}")
                else:
                    ground.expect(response.is_success, f"{path} says 200, and not {response.status_code}")

    with beside(look):
        yield


LOAD_FAULTS = (
    Fault("more load than it can take", _crowded, promised=OVERLOADED, settings=_SHORT_QUEUE),
    Fault("deadlines that cannot be kept", _hasty, lasts_s=2.0),
    Fault("scorings that take long", _behind_long_ones, promised=OVERLOADED),
    Fault("callers that hang up", _hanging_up),
    Fault("callers that send byte by byte", _slow, lasts_s=6.0),
    Fault("bodies that are none", _garbage),
)
