"""Redis access for the behaviour and user routes: longer timeout, separate connections."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dinrank.service.store.behaviour_writer import BehaviourWriter
from dinrank.service.store.connection import connect
from dinrank.service.store.user_data import UserDataStore

_SHORTEST_TIMEOUT_MS = 2_000  # no ad waits for these calls, and without Redis they have no answer
_MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Live:
    """Redis with a longer timeout than rankings have, and on separate connections: rankings never wait for it."""

    behaviours: BehaviourWriter
    users: UserDataStore


@asynccontextmanager
async def open_live(url: str, *, timeout_ms: int, max_stored: int) -> AsyncIterator[Live]:
    """Open the connections.

    Args:
        timeout_ms: of rankings; here it is at least 2 s.
        max_stored: behaviours per user.

    Raises:
        BadRedisUrl
    """
    connection = connect(url, timeout_ms=max(timeout_ms, _SHORTEST_TIMEOUT_MS), max_connections=_MAX_CONNECTIONS)
    try:
        yield Live(BehaviourWriter(connection, max_stored=max_stored), UserDataStore(connection))
    finally:
        await connection.aclose()
