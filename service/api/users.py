"""Access and erasure of one user's stored data: privacy requests."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.convertors import PathConvertor, register_url_convertor

from dinrank.model.bundle.schema import Group
from dinrank.service.api.dependencies import ChampionHere, LiveHere, advising
from dinrank.service.api.openapi import problems
from dinrank.service.api.paths import USERS_PATH, USERS_PREFIX
from dinrank.service.api.schemas import MAX_ID_LENGTH
from dinrank.service.errors import UnknownUser

router = APIRouter()


class _AnyText(PathConvertor):
    """The rest of a path, any text: ids may hold slashes and line ends, which `path` does not match."""

    regex = r"[\s\S]*"


register_url_convertor("any_text", _AnyText())
_PATH = f"{USERS_PREFIX}{{user_id:any_text}}"
UserId = Annotated[
    str, Path(min_length=1, max_length=MAX_ID_LENGTH, description="The user's id, percent-encoded.", examples=["42"])
]


def _one_user_id(
    request: Request,
    user_id: Annotated[
        str, Query(min_length=1, max_length=MAX_ID_LENGTH, description="The user's id.", examples=["42"])
    ],
) -> str:
    """Refuse a repeated id: a proxy may have checked the other one."""
    if len(request.query_params.getlist("user_id")) > 1:
        raise RequestValidationError([{"type": "repeated", "loc": ("query", "user_id"), "msg": "send it once"}])
    return user_id


AnyUserId = Annotated[str, Depends(_one_user_id)]
Limit = Annotated[int | None, Query(ge=1, description="Return only so many behaviours, the newest; all by default.")]


class UserResponse(BaseModel):
    """The stored data of one user."""

    user_id: str
    profile: Mapping[str, Any] = Field(description="Raw user features; those that the model lacks as text.")
    behaviours: list[Mapping[str, Any]] = Field(
        description="As stored, oldest first: `item_id`, `timestamp`, and features of items newer than the model. With "
        "`limit` only the newest ones."
    )
    num_behaviours: int = Field(description="All that are stored; the model uses the newest `max_behaviours`.")
    num_event_ids: int = Field(description="How many of them were sent live, with ids that are stored too.")
    num_malformed: int = Field(description="Stored values that cannot be read and are not shown.")


class RemovedResponse(BaseModel):
    """Counts of removed data; all zeros when nothing was stored."""

    user_id: str
    num_behaviours: int
    num_profile_fields: int
    num_event_ids: int


@router.get(_PATH, response_model=UserResponse, responses=problems(404, 422, 503))
async def user(
    user_id: UserId,
    served: ChampionHere,
    live: LiveHere,
    limit: Limit = None,
) -> Response:
    """Return everything stored about one user; 404 if there is nothing."""
    features = {feature.name: feature for feature in served.bundle.schema.group(Group.USER)}
    with advising("ask again later"):
        served.store.refuse_while_left_alone(user_id)
        found = await live.users.read(user_id, features, limit=limit)
    if found is None:
        raise UnknownUser
    document = {
        "user_id": user_id,
        "profile": found.profile,
        "behaviours": msgspec.Raw(b"[" + b",".join(found.behaviours) + b"]"),
        "num_behaviours": found.num_behaviours,
        "num_event_ids": found.num_event_ids,
        "num_malformed": found.num_malformed,
    }
    # Encoded directly: the response model is slow with 10,000 behaviours.
    return Response(msgspec.json.encode(document), media_type="application/json")


@router.delete(_PATH, responses=problems(403, 422, 503))
async def remove_user(user_id: UserId, served: ChampionHere, live: LiveHere) -> RemovedResponse:
    """Delete behaviours, profile and event ids of one user from Redis. Needs an admin key, as `/admin` does.

    The next ranking is that of an unknown user. Data sent or published afterwards is stored again.
    """
    with advising("some of it may be removed; remove again later"):
        served.store.refuse_while_left_alone(user_id)
        removed = await live.users.remove(user_id)
    return RemovedResponse(user_id=user_id, **asdict(removed))


# For ids with control characters, which no path may hold.
@router.get(USERS_PATH, response_model=UserResponse, responses=problems(404, 422, 503))
async def any_user(user_id: AnyUserId, served: ChampionHere, live: LiveHere, limit: Limit = None) -> Response:
    """Same as `/users/{user_id}`, for an id with any characters."""
    return await user(user_id, served, live, limit)


@router.delete(USERS_PATH, responses=problems(403, 422, 503))
async def remove_any_user(user_id: AnyUserId, served: ChampionHere, live: LiveHere) -> RemovedResponse:
    """Same as `/users/{user_id}`, for an id with any characters. Needs an admin key too."""
    return await remove_user(user_id, served, live)
