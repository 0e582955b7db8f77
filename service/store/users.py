"""Who is in Redis: the load generator asks for real users."""

import asyncio

from service.store.connection import connect
from service.store.layout import BEHAVIOURS_PATTERN, MalformedElement, user_id_of


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
