"""Who is in Redis: the load generator asks for real users, `serve` for one, `publish` for how many."""

import asyncio
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


async def stored_users(
    connection: RedisConnection, *, most: int | None = None, longest_s: float = _LONGEST_LOOK_S
) -> StoredUsers:
    """Looks until it has found so many users, 100,000 by default, and no longer than `longest_s`.

    Raises:
        FeatureStoreUnavailable: Redis does not answer, or this login may not list keys.
    """
    keys: set[bytes] = set()
    enough = _MOST_COUNTED if most is None else most
    try:
        async with asyncio.timeout(longest_s), aclosing(connection.scan(BEHAVIOURS_PATTERN)) as found:
            async for key in found:
                keys.add(key)
                if len(keys) >= enough:
                    return StoredUsers(frozenset(keys), is_complete=False)
    except TimeoutError:  # among very many keys of others, too
        return StoredUsers(frozenset(keys), is_complete=False)
    return StoredUsers(frozenset(keys), is_complete=True)


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
