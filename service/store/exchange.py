"""Commands to one Redis server and their replies, on redis-py's connections but without its pipeline.

Three quarters of the CPU time of a redis-py 8 pipeline go to what is not wanted here: transactions, scripts, its own
telemetry. Pools, connections, packing, parsing (by hiredis), retries and the meaning of replies remain redis-py's.
"""

from collections.abc import Sequence
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ResponseError

Command = Sequence[bytes | str | int]  # its name, as text, and the arguments


async def exchange(client: Redis, commands: Sequence[Command]) -> list[Any]:
    """Send all commands at once and return their replies in order, `ResponseError` for a command that Redis refused.

    When the connection breaks, the commands are sent once more on a new one, as often as the client's `Retry` says.

    Raises:
        RedisError, OSError: no connection, or not all replies.
    """
    pool = client.connection_pool
    connection: AbstractConnection = await pool.get_connection()  # type: ignore[no-untyped-call]  # as redis-py has it
    try:
        replies = await connection.retry.call_with_retry(
            lambda: _send_and_read(connection, commands), lambda error: connection.disconnect(error=error)
        )
    finally:
        await pool.release(connection)
    return [_understood(client, command, reply) for command, reply in zip(commands, replies, strict=True)]


def _understood(client: Redis, command: Command, reply: Any) -> Any:
    """RESP2 has no dictionaries: what HGETALL replied becomes one here, by redis-py's own function."""
    meaning = client.response_callbacks.get(str(command[0]))
    return reply if meaning is None or isinstance(reply, Exception) else meaning(reply)


async def _send_and_read(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    """Raises: RedisError, after which the connection is closed, so that no reply is left for the next who uses it."""
    await connection.send_packed_command([part for command in commands for part in connection.pack_command(*command)])
    return [await _reply(connection) for _ in commands]


async def _reply(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as exc:
        return exc
