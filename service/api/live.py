"""What the routes about behaviours and users work with, opened and closed by the application's lifespan."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.errors import FeatureStoreUnavailable
from service.settings import Settings
from service.store.behaviour_writer import BehaviourWriter
from service.store.connection import connect
from service.store.user_data import UserDataStore

_SHORTEST_TIMEOUT_MS = 2_000  # nobody waits for an ad here, and there is no answer without Redis
_MAX_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Live:
    """Redis, asked with more patience than rankings have, and on connections of its own: rankings never wait for it."""

    behaviours: BehaviourWriter
    users: UserDataStore


@asynccontextmanager
async def open_live(url: str, settings: Settings) -> AsyncIterator[Live]:
    """Raises: BadRedisUrl."""
    timeout_ms = max(settings.redis_timeout_ms, _SHORTEST_TIMEOUT_MS)
    connection = connect(url, timeout_ms=timeout_ms, max_connections=_MAX_CONNECTIONS)
    try:
        yield Live(BehaviourWriter(connection, max_stored=settings.max_stored_behaviours), UserDataStore(connection))
    finally:
        await connection.aclose()


@contextmanager
def saying_what_to_do(advice: str) -> Iterator[None]:
    """Have a failure of the store end with what its caller should do. Raises: FeatureStoreUnavailable."""
    try:
        yield
    except FeatureStoreUnavailable as exc:
        raise FeatureStoreUnavailable(f"{exc}; {advice}", exc.kind) from exc


async def _live(request: Request) -> Live:  # async: FastAPI would give a plain function a thread
    live: Live = request.app.state.live
    return live


LiveHere = Annotated[Live, Depends(_live)]
