"""Writer of live behaviours to Redis, as they happen: any order, idempotent by event id."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

from redis.exceptions import ResponseError

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.connection import RedisConnection
from dinrank.service.store.layout import behaviours_key, events_key
from dinrank.service.store.replies import Command
from dinrank.service.store.scripts import ADD_EVENTS, run_script


@dataclass(frozen=True, slots=True)
class BehaviourEvent:
    """One behaviour event.

    Attributes:
        event_id: unique per user; not empty. Of several events with one id the first to arrive counts.
        timestamp: in the unit of the published timestamps; finite.
        element: the element for the list, see `layout.encode_behaviour`.
    """

    event_id: str
    user_id: str
    timestamp: float
    element: bytes


@dataclass(frozen=True, slots=True)
class EventCounts:
    """Counts of events by outcome; each event is counted once.

    Attributes:
        accepted: added to their user's list.
        duplicates: their id was known already.
        too_old: not newer than the user's published behaviours, or older than everything in a full list.
        other_unit: refused, as the timestamp is at least a hundred times the user's newest published one, and that one
            is large enough to be a clock time; see `scripts`.
    """

    accepted: int = 0
    duplicates: int = 0
    too_old: int = 0
    other_unit: int = 0

    def __add__(self, other: Self) -> "EventCounts":
        return EventCounts(
            self.accepted + other.accepted,
            self.duplicates + other.duplicates,
            self.too_old + other.too_old,
            self.other_unit + other.other_unit,
        )

    @property
    def total(self) -> int:
        return self.accepted + self.duplicates + self.too_old + self.other_unit


# Redis serves no other client while it runs a call, or the calls that arrived with it in the same 16 kB of a
# connection. So cheap calls share one round trip, and the rest goes in calls of 1 to 8 ms, one after the other. Work is
# counted as described in `add_events.lua`.
_EVENTS_PER_CALL = 200
_QUICK_WORK, _LONG_WORK = 1_000, 40_000
_FIRST_OF_LONG = 16  # events in a first call of unknown cost; the next takes twice as many as were done


_NUM_COUNTS = len(fields(EventCounts))


class BehaviourWriter:
    """Adds events to their users' lists, for `RedisFeatureStore` to read.

    The final list depends only on the set of events and the published behaviours, not on order, batches or repetition.
    """

    def __init__(self, connection: RedisConnection, *, max_stored: int) -> None:
        """Args:
        max_stored: how many behaviours a list may hold, published ones included; the oldest are trimmed.
        """
        self._connection = connection
        self._max_stored = max_stored
        self._one_long_call = asyncio.Lock()  # at a time: ten together would block Redis ten times as long

    async def write(self, events: Sequence[BehaviourEvent], *, max_behaviours: int) -> EventCounts:
        """Add events: most in one round trip, late ones to long lists in steps that leave Redis time for other clients.

        Each step is atomic and leaves a consistent list. One user's events may take several steps.

        Args:
            max_behaviours: of the model; a list may always hold at least as many.

        Raises:
            FeatureStoreUnavailable: Redis refused (it may be out of memory) or did not answer in time. Some of the
                events may have been added; write all of them again.
        """
        bound = max(self._max_stored, max_behaviours)
        users = _by_user(events)
        counts = EventCounts(duplicates=len(events) - sum(len(user.left) for user in users))
        counts += await self._call(users, bound, _QUICK_WORK, num_events=_EVENTS_PER_CALL, at_least=0)
        for user in users:
            if user.left:
                counts += await self._write_left(user, bound)
        return counts

    async def _write_left(self, user: "_User", bound: int) -> EventCounts:
        counts, num_events = EventCounts(), _FIRST_OF_LONG
        while user.left:
            async with self._one_long_call:
                done = await self._call([user], bound, _LONG_WORK, num_events=num_events, at_least=1)
            counts += done
            num_events = min(_EVENTS_PER_CALL, 2 * done.total)
        return counts

    async def _call(
        self, users: Sequence["_User"], bound: int, work: int, *, num_events: int, at_least: int
    ) -> EventCounts:
        """Make one round trip, and remove the events done from the users' lists. Raises: FeatureStoreUnavailable."""
        calls = [_arguments(user, bound, work, at_least, user.left[:num_events]) for user in users]
        replies = await run_script(self._connection, ADD_EVENTS, calls)
        counts = EventCounts()
        for user, reply in zip(users, replies, strict=True):
            if isinstance(reply, ResponseError):
                raise FeatureStoreUnavailable(f"Redis refused to write: {reply}", StoreFailure.REFUSED) from reply
            done = _counts(reply, at_least=at_least, at_most=len(user.left))
            del user.left[: done.total]
            counts += done
        return counts


@dataclass(frozen=True, slots=True)
class _User:
    """One user's events still to be written, newest first; of equal timestamps the one with the greatest id first."""

    user_id: str
    left: list[BehaviourEvent]


def _counts(reply: Sequence[int] | None, *, at_least: int, at_most: int) -> EventCounts:
    """Raises: FeatureStoreUnavailable."""
    counts = EventCounts(*reply) if reply is not None and len(reply) == _NUM_COUNTS else None
    if counts is None or not at_least <= counts.total <= at_most:
        raise FeatureStoreUnavailable(f"no reply to a script of events: {reply!r:.100}", StoreFailure.MALFORMED)
    return counts


def _by_user(events: Sequence[BehaviourEvent]) -> list[_User]:
    """Group events by user, without duplicates."""
    of_users: dict[str, dict[str, BehaviourEvent]] = {}
    for event in events:
        of_users.setdefault(event.user_id, {}).setdefault(event.event_id, event)
    return [
        _User(user_id, sorted(of_user.values(), key=_by_time, reverse=True)) for user_id, of_user in of_users.items()
    ]


def _by_time(event: BehaviourEvent) -> tuple[float, bytes]:
    return (event.timestamp, event.event_id.encode())


def _arguments(user: _User, bound: int, work: int, at_least: int, events: Sequence[BehaviourEvent]) -> Command:
    keys = (behaviours_key(user.user_id), events_key(user.user_id))
    parts = [part for each in events for part in (each.event_id, repr(float(each.timestamp)), each.element)]
    return (len(keys), *keys, bound, work, at_least, *parts)
