"""Connection to Redis: the only seam to redis-py. Opens a URL, sends pipelines, translates errors."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    InvalidResponse,
    RedisClusterException,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.cluster import ClusterMap
from dinrank.service.store.exchange import Exchange
from dinrank.service.store.parser import use_parser
from dinrank.service.store.replies import UNREADABLE, Command, MalformedReply, checked, shortened
from dinrank.service.store.url import RedisUrl, Topology, parse_redis_url

_SCAN_START = 0  # the cursor that starts and ends a scan
_SCAN_STEP = 1_000  # keys that Redis looks at before it serves other clients again
_SHORTEST_STEP_TIMEOUT_S = 1.0
_REFUSALS = (AuthenticationError, AuthorizationError, ResponseError)  # Redis answered with a refusal
_MALFORMED = (MalformedReply, InvalidResponse, *UNREADABLE)  # the answer is not from Redis, or is out of step
_READ_BYTES = 1 << 18  # per read of a socket; a list of 10,000 behaviours is half a million bytes


class RedisConnection:
    """One Redis: a server, one behind Sentinels, or a cluster. Safe for concurrent tasks in one event loop."""

    def __init__(
        self, client: Redis | RedisCluster, sentinel: Sentinel | None, *, timeout_ms: int, max_connections: int
    ) -> None:
        self._client = client
        self._sentinel = sentinel
        self._cluster_map = ClusterMap(client) if isinstance(client, RedisCluster) else None
        self._exchange = Exchange(client) if isinstance(client, Redis) else None
        self._timeout_ms = timeout_ms
        self._step_timeout_s = _step_timeout_s(timeout_ms)
        # redis-py's cluster and Sentinel pools raise when they are exhausted; here callers wait instead.
        self._free_connections = asyncio.Semaphore(max_connections)

    async def execute(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands in one pipeline and return their replies in order: one round trip to each node involved.

        Not a transaction. A reply is a `ResponseError` if Redis refused that command alone. Commands must be
        idempotent: they are retried once after a broken connection. The timeout covers everything: waiting for a free
        connection, connecting, sending and reading.

        Raises:
            FeatureStoreUnavailable: no connection, or no complete answer in time.
        """
        with self._translated():
            async with asyncio.timeout(self._timeout_ms / 1_000), self._free_connections:
                replies = await self._send(commands)
                if any(isinstance(reply, RedisConnectionError) for reply in replies):
                    # An exchange retries by itself; a cluster's pipeline does not, and returns errors as replies.
                    replies = await self._send(commands)
            for reply in replies:
                if isinstance(reply, Exception) and not isinstance(reply, ResponseError):
                    raise reply
        return replies

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        if self._exchange is not None:
            return await self._exchange.send(commands)
        assert self._cluster_map is not None
        await self._cluster_map.known()
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        try:
            replies: list[Any] = await pipeline.execute(raise_on_error=False)
        except (RuntimeError, AttributeError) as exc:
            # When one node fails, redis-py disconnects from all nodes, even on connections that another request is
            # about to use. That request gets no redis-py error: the transport refuses, or the writer is None.
            return [RedisConnectionError(f"the connection was closed while it was used: {exc}")] * len(commands)
        return [checked(command, reply) for command, reply in zip(commands, replies, strict=True)]

    async def ping(self) -> None:
        """Raises: FeatureStoreUnavailable."""
        with self._translated():
            async with asyncio.timeout(self._timeout_ms / 1_000), self._free_connections:
                if self._exchange is not None:
                    await self._exchange.send_one(("PING",))
                    return
                assert self._cluster_map is not None
                await self._cluster_map.known()
                await self._client.ping()

    async def ask_each_server(self, command: Command) -> dict[str, Any]:
        """Return the reply of every server that holds data, by address; the address is empty for a single server.

        A reply is a `ResponseError` if that server refused the command.

        Raises:
            FeatureStoreUnavailable: no connection, or no complete answer in time.
        """
        with self._translated():
            async with asyncio.timeout(self._step_timeout_s), self._free_connections:
                if self._exchange is not None:
                    [reply] = await self._exchange.send([command])
                    return {"": reply}
                assert self._cluster_map is not None and isinstance(self._client, RedisCluster)
                await self._cluster_map.known()
                return {
                    node.name: checked(command, await _reply_of(node, command)) for node in self._client.get_primaries()
                }

    def node_of(self, key: bytes) -> str:
        """Return the address of the cluster node that has this key; empty without a cluster or without a map yet."""
        return "" if self._cluster_map is None else self._cluster_map.node_of(key)

    async def scan(self, pattern: bytes) -> AsyncGenerator[bytes, None]:
        """Yield the matching keys of all nodes; a key that changes meanwhile may come twice or not at all.

        Raises:
            FeatureStoreUnavailable: one step of the scan failed or took too long.
        """
        with self._translated():
            keys = self._keys_of_server(pattern) if self._exchange is not None else self._keys_of_cluster(pattern)
            async for key in keys:
                yield key

    async def _keys_of_server(self, pattern: bytes) -> AsyncIterator[bytes]:
        assert self._exchange is not None
        cursor = _SCAN_START
        while True:
            async with asyncio.timeout(self._step_timeout_s), self._free_connections:
                cursor, keys = await self._exchange.send_one(("SCAN", cursor, "MATCH", pattern, "COUNT", _SCAN_STEP))
            for key in keys:
                yield key
            if cursor == _SCAN_START:
                return

    async def _keys_of_cluster(self, pattern: bytes) -> AsyncIterator[bytes]:
        async for key in self._client.scan_iter(match=pattern, count=_SCAN_STEP):
            yield key

    async def aclose(self) -> None:
        if self._cluster_map is not None:
            await self._cluster_map.aclose()
        await self._client.aclose()  # and with it the connections of the exchange
        if self._sentinel is not None:
            await self._sentinel.aclose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (TimeoutError, RedisTimeoutError) as exc:
            if self._cluster_map is not None:
                self._cluster_map.doubt()
            raise FeatureStoreUnavailable(
                f"Redis did not answer within {self._timeout_ms} ms", StoreFailure.TIMEOUT
            ) from exc
        except _REFUSALS as exc:  # before RedisError, their ancestor
            raise _unusable(exc, StoreFailure.REFUSED) from exc
        except _MALFORMED as exc:
            raise _unusable(exc, StoreFailure.MALFORMED) from exc
        except (RedisError, RedisClusterException, OSError) as exc:
            raise _unusable(exc, StoreFailure.UNREACHABLE) from exc


def _unusable(exc: Exception, kind: StoreFailure) -> FeatureStoreUnavailable:
    return FeatureStoreUnavailable(f"Redis cannot be used: {shortened(str(exc))}", kind)


async def _reply_of(node: ClusterNode, command: Command) -> Any:
    try:
        return await node.execute_command(*command)
    except ResponseError as exc:
        return exc


def connect(url: str, *, timeout_ms: int, max_connections: int) -> RedisConnection:
    """Open a connection to the Redis behind `url`; nothing is sent before the first command.

    Args:
        timeout_ms: for each round trip, connecting included.
        max_connections: per server; further callers wait, within their timeout.

    Raises:
        BadRedisUrl: the message lists the accepted forms.
    """
    if timeout_ms < 1 or max_connections < 1:
        raise ValueError(f"timeout_ms {timeout_ms} and max_connections {max_connections} must be positive")
    target = parse_redis_url(url)
    step_timeout_s = _step_timeout_s(timeout_ms)
    options: dict[str, Any] = {
        "username": target.username,
        "password": target.password,
        # Every wait for a server has a timeout here already. redis-py's own costs a task per send.
        "socket_timeout": step_timeout_s if target.topology is Topology.CLUSTER else None,
        "socket_connect_timeout": step_timeout_s,
        "socket_read_size": _READ_BYTES,
        "max_connections": max_connections,
        # One retry fixes a connection that broke while idle. Timeouts are not retried: the time is gone.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
        "protocol": 2,  # RESP3 has no benefit here and costs a round trip per connection
        **({"ssl": True, **target.tls_files} if target.is_tls else {}),
    }
    # One silent Sentinel must leave time for the others, and then for the server.
    of_sentinels = _sentinel_options(options, timeout_ms / 1_000 / (len(target.hosts) + 1))
    client, sentinel = _client(target, options, of_sentinels)
    use_parser(client)
    return RedisConnection(client, sentinel, timeout_ms=timeout_ms, max_connections=max_connections)


def _step_timeout_s(timeout_ms: int) -> float:
    """Return the timeout of one step of a scan or of loading a cluster's map; `execute` has its own, of a round trip.

    It must not be the shorter one: when a node times out, redis-py disconnects from the whole cluster.
    """
    return max(_SHORTEST_STEP_TIMEOUT_S, timeout_ms / 1_000)


def _client(
    target: RedisUrl, options: dict[str, Any], of_sentinels: dict[str, Any]
) -> tuple[Redis | RedisCluster, Sentinel | None]:
    match target.topology:
        case Topology.CLUSTER:
            nodes = [ClusterNode(host, port) for host, port in target.hosts]
            return RedisCluster(startup_nodes=nodes, **options), None
        case Topology.SENTINEL:
            # redis-py leaves Sentinel without annotations.
            sentinel = Sentinel(target.hosts, sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]
            for asked in sentinel.sentinels:
                use_parser(asked)
            return sentinel.master_for(target.service, db=target.database, **options), sentinel
        case Topology.SERVER:
            if target.socket_path:
                return Redis(unix_socket_path=target.socket_path, db=target.database, **options), None
            [(host, port)] = target.hosts
            return Redis(host=host, port=port, db=target.database, **options), None


def _sentinel_options(options: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Return the options for one Sentinel: without the login, which is for the server."""
    kept = {name: value for name, value in options.items() if name not in ("username", "password", "max_connections")}
    return {**kept, "socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
