"""How a feature store fails, and that it recovers, whichever Redis stands behind it."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Protocol, TypeVar

import pytest
from redis.exceptions import RedisError, ResponseError

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store.connection import connect
from dinrank.service.store.redis_store import RedisFeatureStore
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from tests.contract.test_feature_store import SCHEMA
from tests.fixtures.redis_server import RedisServer, close_all_connections, frozen_redis, run_redis

pytestmark = pytest.mark.anyio
Answer = TypeVar("Answer")
TIMEOUT_MS = 400
LATEST_S = 4 * TIMEOUT_MS / 1_000  # a busy machine is slow; retries or waiting in turn would be slower


class OpenStore(Protocol):
    def __call__(self, url: str, *, timeout_ms: int = 5_000) -> RedisFeatureStore: ...


@pytest.fixture
async def open_store() -> AsyncIterator[OpenStore]:
    """Opens stores on one connection each and closes them after the test."""
    async with AsyncExitStack() as stack:

        def open_store(url: str, *, timeout_ms: int = 5_000) -> RedisFeatureStore:
            store = RedisFeatureStore(connect(url, timeout_ms=timeout_ms, max_connections=1), SCHEMA)
            stack.push_async_callback(store.aclose)
            return store

        yield open_store


async def write(url: str, *user_ids: str) -> None:
    """Users whose only behaviour bears their own id."""
    records = [UserRecord(user_id, [TimedBehaviour(user_id, 1, {})], {}) for user_id in user_ids]
    connection = connect(url, timeout_ms=5_000, max_connections=1)
    async with aclosing(connection):
        await RedisFeatureWriter(connection, SCHEMA).write_users(records)


async def in_time(call: Callable[[], Awaitable[Answer]]) -> Answer:
    """The first answer within the short limit, which a busy machine may miss a few times.

    Raises:
        FeatureStoreUnavailable: there was none in half a minute.
    """
    latest_s = time.monotonic() + 30.0
    while True:
        try:
            return await call()
        except FeatureStoreUnavailable:
            if time.monotonic() > latest_s:
                raise


async def test_a_silent_redis_becomes_feature_store_unavailable_in_time(
    any_redis_url: str, open_store: OpenStore
) -> None:
    store = open_store(any_redis_url, timeout_ms=TIMEOUT_MS)
    start_s = time.monotonic()
    with frozen_redis(), pytest.raises(FeatureStoreUnavailable, match="within 400 ms"):
        await store.fetch("42", max_behaviours=5, new_ads=[])
    assert time.monotonic() - start_s < LATEST_S


async def test_the_answer_to_a_fetch_given_up_never_reaches_the_next(any_redis_url: str, open_store: OpenStore) -> None:
    await write(any_redis_url, "slow", "next")
    store = open_store(any_redis_url, timeout_ms=TIMEOUT_MS)
    await in_time(store.ping)
    with frozen_redis(), pytest.raises(FeatureStoreUnavailable):
        await store.fetch("slow", max_behaviours=5, new_ads=[])
    stored = await in_time(lambda: store.fetch("next", max_behaviours=5, new_ads=[]))
    assert list(stored.behaviours.item_ids) == ["next"]


async def test_the_answer_to_a_cancelled_fetch_never_reaches_the_next(
    any_redis_url: str, open_store: OpenStore
) -> None:
    await write(any_redis_url, "slow", "next")
    store = open_store(any_redis_url)
    await store.ping()
    with frozen_redis(), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await store.fetch("slow", max_behaviours=5, new_ads=[])
    stored = await store.fetch("next", max_behaviours=5, new_ads=[])
    assert list(stored.behaviours.item_ids) == ["next"]


async def test_waiting_for_a_connection_counts_towards_the_time_limit(redis_url: str, open_store: OpenStore) -> None:
    store = open_store(redis_url, timeout_ms=TIMEOUT_MS)
    start_s = time.monotonic()
    with frozen_redis():
        fetches = [store.fetch("42", max_behaviours=5, new_ads=[]) for _ in range(5)]
        results = await asyncio.gather(*fetches, return_exceptions=True)
    assert [type(result) for result in results] == [FeatureStoreUnavailable] * 5
    assert time.monotonic() - start_s < LATEST_S


@pytest.mark.parametrize(
    "nowhere",
    [
        "redis://127.0.0.1:1",
        "rediss://127.0.0.1:1",
        "rediss://127.0.0.1:1?ssl_ca_certs=/nonexistent/ca.pem&ssl_certfile=/nonexistent/a&ssl_keyfile=/nonexistent/b",
        "unix:///nonexistent/redis.sock",
        "redis+sentinel://127.0.0.1:1/service",
        "rediss+sentinel://127.0.0.1:1/service",
        "redis+cluster://127.0.0.1:1",
        "rediss+cluster://127.0.0.1:1",
    ],
)
async def test_nobody_listening_becomes_feature_store_unavailable(nowhere: str, open_store: OpenStore) -> None:
    store = open_store(nowhere)
    with pytest.raises(FeatureStoreUnavailable) as caught:
        await store.fetch("42", max_behaviours=5, new_ads=[])
    assert caught.value.__cause__ is not None
    with pytest.raises(FeatureStoreUnavailable):
        await store.ping()


async def test_a_service_that_no_sentinel_knows_becomes_feature_store_unavailable(
    redis_sentinel_url: str, open_store: OpenStore
) -> None:
    url = redis_sentinel_url.rpartition("/")[0] + "/elsewhere"
    store = open_store(url)
    with pytest.raises(FeatureStoreUnavailable, match="'elsewhere'"):
        await store.ping()


async def test_a_silent_sentinel_leaves_time_to_ask_the_next(redis_sentinel_url: str, open_store: OpenStore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = redis_sentinel_url.replace("://", f"://127.0.0.1:{silent.getsockname()[1]},")
        store = open_store(url, timeout_ms=3_000)
        await store.ping()


async def test_a_refused_login_becomes_feature_store_unavailable_without_the_password(
    redis_tcp_url: str, open_store: OpenStore
) -> None:
    url = redis_tcp_url.replace("redis://", "redis://:mellon@")
    store = open_store(url)
    with pytest.raises(FeatureStoreUnavailable, match="AUTH") as caught:
        await store.fetch("42", max_behaviours=5, new_ads=[])
    assert isinstance(caught.value.__cause__, RedisError)
    assert "mellon" not in str(caught.value)


async def test_a_refused_command_becomes_feature_store_unavailable(
    redis_tcp_url: str, redis_server: RedisServer, open_store: OpenStore
) -> None:
    redis_server.client.acl_setuser("reader", enabled=True, passwords=["+mellon"], keys=["*"], commands=["+hgetall"])
    store = open_store(redis_tcp_url.replace("redis://", "redis://reader:mellon@"))
    try:
        with pytest.raises(FeatureStoreUnavailable, match="lrange"):
            await store.fetch("42", max_behaviours=5, new_ads=[])
    finally:
        redis_server.client.acl_deluser("reader")


async def test_a_connection_that_broke_while_idle_is_replaced_unnoticed(
    any_redis_url: str, open_store: OpenStore
) -> None:
    await write(any_redis_url, "42")
    store = open_store(any_redis_url)
    await store.fetch("42", max_behaviours=5, new_ads=[])
    close_all_connections()
    stored = await store.fetch("42", max_behaviours=5, new_ads=[])
    assert list(stored.behaviours.item_ids) == ["42"]


async def test_a_redis_that_comes_back_is_used_again(tmp_path: Path, open_store: OpenStore) -> None:
    socket_path = tmp_path / "redis.sock"
    store = open_store(f"unix://{socket_path}")
    arguments = ("--save", "", "--unixsocket", str(socket_path))
    with run_redis(tmp_path, *arguments):
        await store.ping()
    with pytest.raises(FeatureStoreUnavailable):
        await store.ping()
    with run_redis(tmp_path, *arguments):
        await store.ping()


async def test_a_full_redis_becomes_feature_store_unavailable_and_keeps_what_it_had(
    redis_url: str, redis_server: RedisServer, open_store: OpenStore
) -> None:
    await write(redis_url, "42")
    redis_server.client.config_set("maxmemory", 1)
    try:
        with pytest.raises(FeatureStoreUnavailable, match="maxmemory") as caught:
            await write(redis_url, "42", "43")
    finally:
        redis_server.client.config_set("maxmemory", 0)
    assert isinstance(caught.value.__cause__, ResponseError)
    store = open_store(redis_url)
    stored = [await store.fetch(user_id, max_behaviours=5, new_ads=[]) for user_id in ("42", "43")]
    assert [len(each.behaviours) for each in stored] == [1, 0]
