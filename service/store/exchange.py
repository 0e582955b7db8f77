"""Lightweight pipeline to one Redis server: redis-py's connections without its pipeline.

Three quarters of the CPU time of a redis-py 8 pipeline go to features not needed here: transactions, scripts,
telemetry. Pools, connections, packing, parsing (by hiredis), retries and decoding of replies remain redis-py's.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from dinrank.service.store.replies import Command, MalformedReply, understood


class Exchange:
    """Sends commands to one server and reads their replies, on connections that it keeps.

    They come from the client's pool and stay here between exchanges: getting one from the pool and returning it takes
    redis-py as long as the exchange. The pool closes them with the client. The caller must limit concurrent exchanges
    to the number of connections allowed.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._idle: list[AbstractConnection] = []

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once and return their replies in order, `ResponseError` for a refused command.

        If the connection breaks, the commands are sent again on a new one, as often as the client's `Retry` allows.

        Raises:
            RedisError, OSError: no connection, or not all replies, or a `MalformedReply`.
        """
        connection = await self._connection()
        meanings = self._client.response_callbacks
        try:
            replies = await connection.retry.call_with_retry(
                lambda: _send_and_read(connection, commands), lambda error: connection.disconnect(error=error)
            )
            return [
                understood(command, reply, meanings.get(str(command[0])))
                for command, reply in zip(commands, replies, strict=True)
            ]
        except MalformedReply:
            await connection.disconnect()  # its next bytes could be anything
            raise
        finally:
            self._idle.append(connection)  # after a failure it is closed, and is reopened on its next use

    async def send_one(self, command: Command) -> Any:
        """Send one command; raises ResponseError too."""
        [reply] = await self.send([command])
        if isinstance(reply, Exception):
            raise reply
        return reply

    async def _connection(self) -> AbstractConnection:
        pool = self._client.connection_pool
        if not self._idle:
            connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]  # redis-py's
            return connection
        connection = self._idle.pop()
        try:
            await pool.ensure_connection(connection)
        except BaseException:
            self._idle.append(connection)
            raise
        return connection


async def _send_and_read(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Raises: RedisError; the connection is then closed, so that no stale reply is left for its next user."""
    await connection.send_packed_command([part for command in commands for part in connection.pack_command(*command)])
    replies = [await _reply(connection) for _ in commands]
    if await connection.can_read() and not _has_ended(connection):
        raise MalformedReply(commands[-1], "more replies than commands")
    return replies


def _has_ended(connection: AbstractConnection) -> bool:
    """Return True if the server has disconnected, which redis-py reports as readable."""
    return connection._reader is None or connection._reader.at_eof()


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


def look_at_outcome(work: "asyncio.Future[Any]") -> None:
    """Done callback that retrieves the exception, so that asyncio does not log it as never retrieved if every waiter
    has given up.
    """
    if not work.cancelled():
        work.exception()
