"""Reading and erasing all data of one user in Redis, and listing users."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Any

import orjson
from redis.exceptions import ResponseError

from dinrank.model.bundle.schema import Feature
from dinrank.model.bundle.vocabulary import RawValue
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.connection import RedisConnection, connect
from dinrank.service.store.layout import (
    BEHAVIOURS_PATTERN,
    MalformedElement,
    behaviours_key,
    decode_hash,
    events_key,
    profile_key,
    user_id_of,
)

_LONGEST_LOOK_S = 5.0

_LONGEST_SAMPLING_S = 1.0  # for some users among keys of other kinds


@dataclass(frozen=True, slots=True)
class UserData:
    """The stored data of one user.

    Attributes:
        profile: every field: the model's features as it reads them, others as text.
        behaviours: elements as JSON objects, oldest first, limited to the newest ones requested.
        num_behaviours: of all stored ones.
        num_event_ids: how many of them came in live.
        num_malformed: values that cannot be read and are left out.
    """

    profile: Mapping[str, RawValue]
    behaviours: Sequence[bytes]
    num_behaviours: int
    num_event_ids: int
    num_malformed: int


@dataclass(frozen=True, slots=True)
class RemovedData:
    """Counts of removed data."""

    num_behaviours: int
    num_profile_fields: int
    num_event_ids: int


class UserDataStore:
    """Reads and removes users. A key of another type than the layout's holds nothing readable, and is removed too."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection

    async def some_ids(self, count: int) -> list[str]:
        """Return ids of some users with behaviours, in the server's order; fewer if the time runs out.

        Raises:
            FeatureStoreUnavailable
        """
        found: dict[str, None] = {}  # a key may come twice
        with suppress(TimeoutError):
            async with (
                asyncio.timeout(_LONGEST_SAMPLING_S),
                aclosing(self._connection.scan(BEHAVIOURS_PATTERN)) as keys,
            ):
                async for key in keys:
                    with suppress(MalformedElement):
                        found[user_id_of(key)] = None
                    if len(found) == count:
                        break
        return list(found)

    async def read(self, user_id: str, features: Mapping[str, Feature], *, limit: int | None = None) -> UserData | None:
        """Read a user's data; None if nothing is stored.

        Args:
            features: the user features of a model, by name.
            limit: return only so many behaviours, the newest ones; all by default.

        Raises:
            FeatureStoreUnavailable
        """
        keys = behaviours_key(user_id), events_key(user_id), profile_key(user_id)
        elements, num_behaviours, num_members, horizon, fields, num_keys = await self._answers(
            ("LRANGE", keys[0], 0, -1 if limit is None else limit - 1),
            ("LLEN", keys[0]),
            ("ZCARD", keys[1]),
            ("ZSCORE", keys[1], ""),
            ("HGETALL", keys[2]),
            ("EXISTS", *keys),
        )
        if not num_keys:
            return None
        # In a thread: thousands of elements with some kilobytes each take a while.
        behaviours = await asyncio.to_thread(_readable, elements or [])
        profile, num_lost = _profile(fields or {}, features)
        return UserData(
            profile=profile,
            behaviours=behaviours,
            num_behaviours=num_behaviours or 0,
            num_event_ids=_num_event_ids(num_members, horizon),
            num_malformed=len(elements or []) - len(behaviours) + num_lost,
        )

    async def remove(self, user_id: str) -> RemovedData:
        """Delete behaviours, profile and event ids. No effect if nothing is stored.

        Raises:
            FeatureStoreUnavailable: remove again, as some of it may remain.
        """
        keys = behaviours_key(user_id), events_key(user_id), profile_key(user_id)
        num_behaviours, num_members, horizon, num_profile_fields, _ = await self._answers(
            ("LLEN", keys[0]), ("ZCARD", keys[1]), ("ZSCORE", keys[1], ""), ("HLEN", keys[2]), ("UNLINK", *keys)
        )
        return RemovedData(num_behaviours or 0, num_profile_fields or 0, _num_event_ids(num_members, horizon))

    async def _answers(self, *commands: tuple[bytes | str | int, ...]) -> list[Any]:
        """Return the replies of one round trip; None for a key of another type."""
        replies = await self._connection.execute(commands)
        for place, reply in enumerate(replies):
            if isinstance(reply, ResponseError):
                if not str(reply).startswith("WRONGTYPE"):
                    raise FeatureStoreUnavailable(f"Redis refused a command: {reply}", StoreFailure.REFUSED) from reply
                replies[place] = None
        return replies


def _num_event_ids(num_members: int | None, horizon: object) -> int:
    """Count a user's events without the horizon, which has the empty id; see `scripts`."""
    return (num_members or 0) - (horizon is not None)


def _readable(elements: Sequence[bytes]) -> list[bytes]:
    """Return, oldest first, the elements that are valid JSON objects; `elements` come newest first."""
    return [text for text in map(_spelled, reversed(elements)) if text is not None]


def _spelled(element: bytes) -> bytes | None:
    """Re-encode an element: the last of duplicate names counts, as in rankings; too deep nesting is unreadable."""
    try:
        document = orjson.loads(element)
        return orjson.dumps(document) if isinstance(document, dict) else None
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return None


def _profile(fields: Mapping[bytes, bytes], features: Mapping[str, Feature]) -> tuple[dict[str, RawValue], int]:
    """Return the fields, and the number of unreadable ones."""
    profile, num_malformed = decode_hash(fields, features)
    of_others = {name: value for name, value in fields.items() if name.decode(errors="replace") not in features}
    return {
        **profile,
        **{name.decode(errors="replace"): value.decode(errors="replace") for name, value in of_others.items()},
    }, num_malformed


_MOST_COUNTED = 100_000


@dataclass(frozen=True, slots=True)
class StoredUsers:
    """The keys of users with behaviours; a part of them if `is_complete` is false."""

    keys: frozenset[bytes]
    is_complete: bool


async def stored_users(
    connection: RedisConnection, *, most: int | None = None, longest_s: float = _LONGEST_LOOK_S
) -> StoredUsers:
    """Scan for users until `most` are found, 100,000 by default, or `longest_s` has passed.

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
    except TimeoutError:  # also if there are very many other keys
        return StoredUsers(frozenset(keys), is_complete=False)
    return StoredUsers(frozenset(keys), is_complete=True)


def published_user_ids(url: str, *, timeout_ms: int = 5_000) -> list[str]:
    """Return the ids of all users with behaviours, sorted; keys in an unknown layout are skipped.

    Scans all keys without blocking other clients.

    Raises:
        BadRedisUrl
        FeatureStoreUnavailable: Redis refused, or a step of the scan took longer than `timeout_ms`.
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
