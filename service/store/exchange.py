"""Commands to one Redis server and their replies, on redis-py's connections but without its pipeline.

Three quarters of the CPU time of a redis-py 8 pipeline go to what is not wanted here: transactions, scripts, its own
telemetry. Pools, connections, packing, parsing (by hiredis), retries and the meaning of replies remain redis-py's.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

from dinrank.service.store.replies import Command, MalformedReply, understood


class Exchange:
    """The connections to one server that are in use, and what is sent and read on them.

    They come from the client's pool and are kept here between exchanges: fetching one from the pool and giving it back
    takes redis-py as long as the exchange. The pool closes them with the client. Whoever calls sees to it that there
    are not more exchanges at once than connections allowed.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._idle: list[AbstractConnection] = []

    async def send(self, commands: Sequence[Command]) -> list[Any]:
        """Send all commands at once and return their replies in order, `ResponseError` for a command that was refused.

        When the connection breaks, the commands are sent once more on a new one, as often as the client's `Retry` says.

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
            await connection.disconnect()  # what comes next on it could be anything
            raise
        finally:
            self._idle.append(connection)  # if anything went wrong it is closed, and opened again when its turn comes

    async def send_one(self, command: Command) -> Any:
        """The same for one command; raises ResponseError too."""
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
    """Raises: RedisError, after which the connection is closed, so that no reply is left for the next who uses it."""
    await connection.send_packed_command([part for command in commands for part in connection.pack_command(*command)])
    replies = [await _reply(connection) for _ in commands]
    if await connection.can_read() and not _has_ended(connection):
        raise MalformedReply(commands[-1], "more replies than commands")
    return replies


def _has_ended(connection: AbstractConnection) -> bool:
    """Whether the server has hung up, which redis-py counts as something to read."""
    return connection._reader is None or connection._reader.at_eof()


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc


def look_at_outcome(work: "asyncio.Future[Any]") -> None:
    """To be added as its callback: whoever waits gets the error, and when all have given up, asyncio shall not complain
    that nobody looked at it.
    """
    if not work.cancelled():
        work.exception()
