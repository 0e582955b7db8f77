"""Read-only inspection of a Redis and its stored data."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from redis.exceptions import ResponseError

from dinrank.model.bundle.schema import ITEM_ID, FeatureSchema, Group
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.layout import TIMESTAMP, decode_behaviours
from dinrank.service.store.replies import Command
from dinrank.service.store.user_data import stored_users

_SAMPLED_USERS = 100
_SAMPLED_BEHAVIOURS = 50  # the newest of each


@dataclass(frozen=True, slots=True)
class Server:
    """State that one server reports; None or empty if the login lacks permission.

    Attributes:
        address: empty for a single server.
        info: INFO as parsed by redis-py.
        save_points: of CONFIG GET save; empty text if there are none.
        clock_ahead_s: how far its clock is ahead of this machine's.
        refusals: commands that it refused.
    """

    address: str
    info: Mapping[str, Any]
    save_points: str | None
    clock_ahead_s: float | None
    refusals: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class StoredSample:
    """A sample of the stored users.

    Attributes:
        num_users: with behaviours; a lower bound if `is_complete` is false.
        item_ids: of the sampled users' newest behaviours.
        num_malformed: their elements that could not be read.
        newest_timestamps: of each sampled user that has one, in the data set's own unit.
    """

    num_users: int
    is_complete: bool
    num_sampled: int = 0
    item_ids: Sequence[str] = field(default_factory=list)
    num_malformed: int = 0
    newest_timestamps: Sequence[float] = field(default_factory=list)


async def round_trips_ms(connection: RedisConnection, *, count: int) -> list[float]:
    """Measure the duration of `count` PINGs on an open connection.

    Raises:
        FeatureStoreUnavailable
    """
    await connection.ping()
    took = []
    for _ in range(count):
        began = time.perf_counter()
        await connection.ping()
        took.append((time.perf_counter() - began) * 1_000)
    return took


async def look_at_servers(connection: RedisConnection) -> list[Server]:
    """Inspect every server that holds data. Raises: FeatureStoreUnavailable."""
    commands: list[Command] = [("INFO",), ("CONFIG GET", "save"), ("TIME",)]
    info, save, clock = [await connection.ask_each_server(command) for command in commands]
    now_s = time.time()  # after the last answer, which took microseconds to milliseconds
    return [
        Server(
            address=address,
            info={} if isinstance(info[address], ResponseError) else info[address],
            save_points=None if isinstance(save[address], ResponseError) else _text(save[address].get("save", "")),
            clock_ahead_s=None if isinstance(clock[address], ResponseError) else _seconds(clock[address]) - now_s,
            refusals=[
                str(command[0])
                for command, replies in zip(commands, (info, save, clock), strict=True)
                if isinstance(replies[address], ResponseError)
            ],
        )
        for address in info
    ]


async def sample_users(connection: RedisConnection, schema: FeatureSchema | None) -> StoredSample:
    """Count users up to a limit, and read the newest behaviours of some.

    Args:
        schema: to read item features beside a behaviour; None without a bundle.

    Raises:
        FeatureStoreUnavailable
    """
    users = await stored_users(connection)
    sampled = sorted(users.keys)[:: max(1, len(users.keys) // _SAMPLED_USERS)][:_SAMPLED_USERS]
    if not sampled:
        return StoredSample(0, users.is_complete)
    replies = await connection.execute([("LRANGE", key, 0, _SAMPLED_BEHAVIOURS - 1) for key in sampled])
    item_features = {} if schema is None else {f.name: f for f in schema.group(Group.ITEM) if f.name != ITEM_ID}
    item_ids: list[str] = []
    num_malformed = 0
    newest: list[float] = []
    for reply in replies:
        elements = [] if isinstance(reply, ResponseError) else reply
        read = decode_behaviours(elements, item_features)
        item_ids += read.item_ids
        num_malformed += len(elements) - len(read.item_ids) + isinstance(reply, ResponseError)
        newest += sorted(time for time in map(_timestamp, elements) if time is not None)[-1:]
    return StoredSample(len(users.keys), users.is_complete, len(sampled), item_ids, num_malformed, newest)


def _timestamp(element: bytes) -> float | None:
    try:
        timestamp = orjson.loads(element)[TIMESTAMP]
    except (orjson.JSONDecodeError, TypeError, KeyError):
        return None
    return float(timestamp) if isinstance(timestamp, int | float) else None


def _seconds(reply: Sequence[int]) -> float:
    seconds, microseconds = map(int, reply)
    return seconds + microseconds / 1e6


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
