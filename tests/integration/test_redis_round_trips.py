import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from dinrank.service.store.connection import connect
from dinrank.service.store.redis_store import RedisFeatureStore
from tests.contract.test_feature_store import SCHEMA
from tests.fixtures.redis_server import RedisServer

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def proxy(port: int, log: list[bytes]) -> AsyncIterator[int]:
    """A TCP port that leads to another; `log` gets b"" for each answer, and each request as it was sent."""

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_request: bool) -> None:
        while chunk := await reader.read(65_536):
            log.append(chunk if is_request else b"")
            writer.write(chunk)
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            await asyncio.gather(relay(reader, to_redis, is_request=True), relay(from_redis, writer, is_request=False))

    async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_fetch_is_one_round_trip_and_no_transaction(redis_server: RedisServer) -> None:
    log: list[bytes] = []
    async with proxy(redis_server.port, log) as port:
        store = RedisFeatureStore(connect(f"redis://127.0.0.1:{port}", timeout_ms=5_000, max_connections=1), SCHEMA)
        await store.ping()  # connects
        log.clear()
        await store.fetch("42", max_behaviours=50, new_ads=["7", "8", "9"])
        await store.aclose()
    first_answer = log.index(b"")
    requests = b"".join(log[:first_answer])
    assert (requests.count(b"LRANGE"), requests.count(b"HGETALL"), requests.count(b"MULTI")) == (1, 4, 0)
    assert not any(log[first_answer:])
