"""The playground: a page that shows the model's inputs, and the routes that only this page uses."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from dinrank.model.bundle.reader import Bundle
from dinrank.service.api.dependencies import ChampionHere, LiveHere
from dinrank.service.api.headers import page_headers
from dinrank.service.api.openapi import problems
from dinrank.service.api.paths import PAGE_PARTS_PREFIX
from dinrank.service.api.schemas import MAX_ID_LENGTH
from dinrank.service.api.strict_json import StrictJsonRoute

_FILES = Path(__file__).parents[1] / "playground"
_MOST_SHOWN = 100
_MOST_NAMED = 10_000  # more behaviours than anybody looks at
_HEADERS = page_headers()  # the page shows text of users and items, which is untrusted

router = APIRouter(prefix="/playground", route_class=StrictJsonRoute, include_in_schema=False)
_Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]
_Count = Annotated[int, Query(ge=1, le=_MOST_SHOWN)]


class Item(BaseModel):
    """An item as the page shows it; its title is empty if the bundle has none."""

    item_id: str
    title: str


class ItemsResponse(BaseModel):
    """Some items."""

    items: list[Item]


class TitlesRequest(BaseModel):
    """Items whose titles are wanted."""

    item_ids: list[_Id] = Field(max_length=_MOST_NAMED)


class UsersResponse(BaseModel):
    """A sample of users with behaviours."""

    user_ids: list[str]


def install(app: FastAPI) -> None:
    """Add the page at `/`, its static files and its routes to `app`."""
    app.include_router(router)
    app.add_api_route("/", _page, methods=["GET"], include_in_schema=False)
    app.mount(PAGE_PARTS_PREFIX.rstrip("/"), _PageParts(directory=_FILES))


async def _page() -> FileResponse:
    return FileResponse(_FILES / "index.html", headers=_HEADERS)


class _PageParts(StaticFiles):
    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers.update(_HEADERS)
        return response


@router.get("/items")
def items(  # not async: searching a million titles takes a while
    champion: ChampionHere, search: Annotated[str, Query(max_length=MAX_ID_LENGTH)], count: _Count = 20
) -> ItemsResponse:
    """Find items: the one with this id first, then those whose title contains the text."""
    bundle = champion.bundle
    item_ids = bundle.encoder.catalogue.item_ids
    found = [] if bundle.titles is None else [item_ids[place] for place in bundle.titles.search(search, limit=count)]
    if search in bundle.encoder.catalogue:
        found.insert(0, search)
    return _named(bundle, list(dict.fromkeys(found))[:count])


@router.get("/items/random")
async def random_items(champion: ChampionHere, count: _Count = 20) -> ItemsResponse:
    """Some items of the catalogue."""
    item_ids = champion.bundle.encoder.catalogue.item_ids
    places = random.sample(range(len(item_ids)), min(count, len(item_ids)))
    return _named(champion.bundle, [item_ids[place] for place in places])


@router.post("/titles", response_model=ItemsResponse)
async def titles(body: TitlesRequest, champion: ChampionHere) -> Response:
    """Return the titles of these items, in the same order."""
    title_of = champion.bundle.title_of
    items = [{"item_id": item_id, "title": title_of(item_id)} for item_id in body.item_ids]
    # Encoded directly: the response model takes eight times as long.
    return Response(msgspec.json.encode({"items": items}), media_type="application/json")


@router.get("/users", responses=problems(503))
async def users(live: LiveHere, count: _Count = 20) -> UsersResponse:
    """Some users to look at."""
    return UsersResponse(user_ids=sorted(await live.users.some_ids(count), key=_by_number))


def _named(bundle: Bundle, item_ids: Iterable[str]) -> ItemsResponse:
    return ItemsResponse(items=[Item(item_id=item_id, title=bundle.title_of(item_id)) for item_id in item_ids])


def _by_number(user_id: str) -> tuple[Any, ...]:
    return (0, int(user_id), user_id) if user_id.isdecimal() else (1, user_id)
