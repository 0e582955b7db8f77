import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.connection import Connection
from redis.crc import key_slot

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.store.connection import connect
from dinrank.service.store.layout import behaviours_key
from dinrank.service.store.protocol import StoredFeatures
from dinrank.service.store.redis_store import RedisFeatureStore
from tests.contract.test_feature_store import SCHEMA
from tests.fixtures.redis_server import LOWER_SLOTS, RedisServer, cluster_url, run_cluster

pytestmark = pytest.mark.anyio
MANY = 100


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    with run_cluster(tmp_path) as nodes:
        yield nodes


@asynccontextmanager
async def open_store(node: RedisServer, *, timeout_ms: int) -> AsyncIterator[RedisFeatureStore]:
    async with aclosing(connect(cluster_url(node), timeout_ms=timeout_ms, max_connections=1)) as connection:
        yield RedisFeatureStore(connection, SCHEMA)


async def first_answer(store: RedisFeatureStore, user_id: str) -> StoredFeatures:
    for _ in range(MANY):
        try:
            return await store.fetch(user_id, max_behaviours=5, new_ads=[])
        except FeatureStoreUnavailable:
            await asyncio.sleep(0.01)  # what failed at once would otherwise fail MANY times at once
    raise AssertionError(f"no answer in {MANY} attempts")


async def test_the_map_is_learnt_although_the_request_that_needed_it_gave_up(nodes: list[RedisServer]) -> None:
    async with open_store(nodes[0], timeout_ms=100) as store:
        for node in nodes:
            node.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(FeatureStoreUnavailable):
                await store.fetch("42", max_behaviours=5, new_ads=[])
        finally:
            for node in nodes:
                node.process.send_signal(signal.SIGCONT)
        async with asyncio.timeout(30):
            while not any(map(was_asked_for_its_commands, nodes)):
                await asyncio.sleep(0.01)


def was_asked_for_its_commands(node: RedisServer) -> bool:
    """The last step of learning the map."""
    return "cmdstat_command" in node.client.info("commandstats")


async def test_a_silent_node_is_left_once_another_has_its_slots(nodes: list[RedisServer]) -> None:
    silent, heir = nodes
    user_id = next(user_id for user_id in map(str, range(99)) if key_slot(behaviours_key(user_id)) in LOWER_SLOTS)
    async with open_store(heir, timeout_ms=100) as store:
        await first_answer(store, user_id)
        silent.process.send_signal(signal.SIGSTOP)
        try:
            with pytest.raises(FeatureStoreUnavailable):
                await store.fetch(user_id, max_behaviours=5, new_ads=[])
            heir.client.execute_command("CLUSTER DELSLOTS", *LOWER_SLOTS)
            heir.client.execute_command("CLUSTER ADDSLOTS", *LOWER_SLOTS)
            heir.client.rpush(behaviours_key(user_id), '{"item_id": "1"}')
            stored = await first_answer(store, user_id)
        finally:
            silent.process.send_signal(signal.SIGCONT)
    assert list(stored.behaviours.item_ids) == ["1"]


@pytest.mark.parametrize("stumble", [RuntimeError("the handler is closed"), AttributeError("'NoneType' has no writer")])
async def test_a_connection_that_another_request_has_closed_costs_no_answer(
    nodes: list[RedisServer], monkeypatch: pytest.MonkeyPatch, stumble: Exception
) -> None:
    """redis-py hangs up on all nodes when one fails; what is about to send meets errors that are none of redis-py's."""
    send, stumbles = Connection.send_packed_command, [stumble]

    async def send_on_what_was_closed(self: Connection, *arguments: Any, **keywords: Any) -> None:
        if stumbles and self.is_connected:
            raise stumbles.pop()
        await send(self, *arguments, **keywords)

    async with open_store(nodes[0], timeout_ms=5_000) as store:
        assert len((await first_answer(store, "42")).behaviours) == 0
        monkeypatch.setattr(Connection, "send_packed_command", send_on_what_was_closed)
        stored = await store.fetch("42", max_behaviours=5, new_ads=[])
    assert stumbles == []
    assert (len(stored.behaviours), stored.ads_failure) == (0, None)
