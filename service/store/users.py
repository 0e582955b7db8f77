"""Who is in Redis: the load generator asks for real users, `serve` for one, `publish` for how many."""

import asyncio
import time
from contextlib import aclosing
from dataclasses import dataclass

from service.store.connection import RedisConnection, connect
from service.store.layout import BEHAVIOURS_PATTERN, MalformedElement, user_id_of

_MOST_COUNTED = 100_000
_LONGEST_LOOK_S = 5.0


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """The keys of users with behaviours; some of them when `is_complete` is false."""

    keys: frozenset[bytes]
    is_complete: bool


async def stored_users(connection: RedisConnection) -> StoredUsers:
    """Looks at 100,000 users and for five seconds at most.

    Raises:
        FeatureStoreUnavailable: Redis does not answer, or this login may not list keys.
    """
    keys: set[bytes] = set()
    deadline_s = time.monotonic() + _LONGEST_LOOK_S
    async with aclosing(connection.scan(BEHAVIOURS_PATTERN)) as found:
        async for key in found:
            keys.add(key)
            if len(keys) >= _MOST_COUNTED or time.monotonic() > deadline_s:
                return StoredUsers(frozenset(keys), is_complete=False)
    return StoredUsers(frozenset(keys), is_complete=True)


async def some_user_id(connection: RedisConnection) -> str | None:
    """The id of one user with behaviours, or None where there is none. Raises: FeatureStoreUnavailable."""
    async with aclosing(connection.scan(BEHAVIOURS_PATTERN)) as found:
        async for key in found:
            try:
                return user_id_of(key)
            except MalformedElement:
                continue
    return None


def published_user_ids(url: str, *, timeout_ms: int = 5_000) -> list[str]:
    """The ids of all users with behaviours, sorted; keys that are in no known layout are passed over.

    Walks through all keys without holding up other clients.

    Raises:
        BadRedisUrl
        FeatureStoreUnavailable: Redis refused or a step of the walk took longer than `timeout_ms`.
    """
    return asyncio.run(_published_user_ids(url, timeout_ms))


async def _published_user_ids(url: str, timeout_ms: int) -> list[str]:
    connection = connect(url, timeout_ms=timeout_ms, max_connections=1)
    user_ids = set()
    try:
        async for key in connection.scan(BEHAVIOURS_PATTERN):
            try:
                user_ids.add(user_id_of(key))
            except MalformedElement:
                continue
    finally:
        await connection.aclose()
    return sorted(user_ids)
