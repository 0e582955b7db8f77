"""Slot map of a Redis Cluster, loaded in the background rather than within a request's deadline."""

import asyncio
from contextlib import suppress

from redis._parsers.commands import AsyncCommandsParser
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.crc import key_slot
from redis.exceptions import RedisClusterException, RedisError

from dinrank.service.store.exchange import look_at_outcome


class ClusterMap:
    """Maintains a cluster client's map of slots to nodes.

    Loading it takes many times as long as a fetch, often longer than a request may wait. So loading continues when the
    request that started it gives up, and later requests find it done.
    """

    def __init__(self, client: RedisCluster) -> None:
        client.commands_parser = _CommandTable(client)
        self._client = client
        self._learning: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None

    async def known(self) -> None:
        """Wait until there is a map.

        Raises:
            RedisError, RedisClusterException: no node is reachable.
        """
        if self._learning is None or self._learning.done():
            self._learning = asyncio.create_task(self._learn())
            self._learning.add_done_callback(look_at_outcome)
        await asyncio.shield(self._learning)

    def doubt(self) -> None:
        """Reload the map in the background: a node did not answer, and may have been replaced.

        redis-py reloads by itself when a node refuses or redirects. A dead machine does neither.
        """
        is_busy = any(task is not None and not task.done() for task in (self._learning, self._renewal))
        if not is_busy:
            self._renewal = asyncio.create_task(self._renew())

    def node_of(self, key: bytes) -> str:
        """Return the address of the key's node by the current map; empty if the map lacks it."""
        nodes = self._client.nodes_manager.slots_cache.get(key_slot(key))
        return nodes[0].name if nodes else ""

    async def aclose(self) -> None:
        tasks = [task for task in (self._learning, self._renewal) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _learn(self) -> None:
        await self._client.initialize()  # returns at once if there is a map

    async def _renew(self) -> None:
        # On failure the old map stays, requests go on failing and being counted, and the next one tries again.
        with suppress(RedisError, RedisClusterException, OSError):
            await self._client.nodes_manager.initialize()


class _CommandTable(AsyncCommandsParser):
    """Table of commands and their key positions: requested once, from any node.

    redis-py requests it with every map, from a single node; while that node is down, it can use none of them.
    """

    def __init__(self, client: RedisCluster) -> None:
        super().__init__()
        self._nodes_manager = client.nodes_manager

    async def initialize(self, node: ClusterNode | None = None) -> None:
        """Raises: RedisError, OSError, when no node answers."""
        if self.commands:
            return
        others = [each for each in self._nodes_manager.nodes_cache.values() if each is not node]
        failure: Exception | None = None
        for each in [*([node] if node else []), *others]:
            try:
                await super().initialize(each)
            except (RedisError, OSError) as exc:
                failure = exc
            else:
                return
        if failure is not None:
            raise failure
