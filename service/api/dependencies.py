"""FastAPI dependencies: the objects that the application's lifespan opened."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from fastapi import Depends, Request

from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.lineup.line_up import LineUp, Served
from dinrank.service.store.live import Live


async def _line_up(request: Request) -> LineUp:  # async: FastAPI would give a plain function a thread
    line_up: LineUp = request.app.state.line_up
    return line_up


LineUpHere = Annotated[LineUp, Depends(_line_up)]


async def _champion(line_up: LineUpHere) -> Served:
    return line_up.champion


ChampionHere = Annotated[Served, Depends(_champion)]


@contextmanager
def advising(advice: str) -> Iterator[None]:
    """Append advice for the caller to a failure of the store. Raises: FeatureStoreUnavailable."""
    try:
        yield
    except FeatureStoreUnavailable as exc:
        raise FeatureStoreUnavailable(f"{exc}; {advice}", exc.kind) from exc


async def _live(request: Request) -> Live:  # async: FastAPI would give a plain function a thread
    live: Live = request.app.state.live
    return live


LiveHere = Annotated[Live, Depends(_live)]
