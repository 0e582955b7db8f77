"""Redis for the routes about behaviours and users: patient, and on connections of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from dinrank.service.store.behaviour_writer import BehaviourWriter
from dinrank.service.store.connection import connect
from dinrank.service.store.user_data import UserDataStore

_SHORTEST_TIMEOUT_MS = 2_000  # nobody waits for an ad here, and there is no answer without Redis
_MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Live:
    """Redis, asked with more patience than rankings have, and on connections of its own: rankings never wait for it."""

    behaviours: BehaviourWriter
    users: UserDataStore


@asynccontextmanager
async def open_live(url: str, *, timeout_ms: int, max_stored: int) -> AsyncIterator[Live]:
    """Open the connections.

    Args:
        timeout_ms: of rankings; here it is 2 s at least.
        max_stored: behaviours of one user.

    Raises:
        BadRedisUrl
    """
    connection = connect(url, timeout_ms=max(timeout_ms, _SHORTEST_TIMEOUT_MS), max_connections=_MAX_CONNECTIONS)
    try:
        yield Live(BehaviourWriter(connection, max_stored=max_stored), UserDataStore(connection))
    finally:
        await connection.aclose()
