"""Write behaviours into Redis one by one, as they happen: in any order, as often as they come."""

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
    """One behaviour that happened.

    Attributes:
        event_id: names it among its user's; not empty. Of several events with one id the first that comes counts.
        timestamp: in the unit of what was published; finite.
        element: what the list shall hold, see `layout.encode_behaviour`.
    """

    event_id: str
    user_id: str
    timestamp: float
    element: bytes


@dataclass(frozen=True, slots=True)
class EventCounts:
    """What became of some events: each is counted once.

    Attributes:
        accepted: they stand in their user's list.
        duplicates: their id was there already.
        too_old: not newer than what was published of their user, or older than all that a full list keeps.
        other_unit: refused, as the timestamp is a hundred times what was published of their user, or more, where that
            is large enough to be a clock; see `scripts`.
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


# Redis serves nobody else while a call is carried out, nor before all is done that came with it in 16 kB of one
# connection. So what can be done at once goes with others in one round trip, and what is left in calls of 1 to 8 ms,
# sent one after the other. Work is counted as `add_events.lua` says.
_EVENTS_PER_CALL = 200
_QUICK_WORK, _LONG_WORK = 1_000, 40_000
_FIRST_OF_LONG = 16  # events of a call whose work cannot be told before; twice as many as were done go with the next


_NUM_COUNTS = len(fields(EventCounts))


class BehaviourWriter:
    """Adds events to their users' lists, for `RedisFeatureStore` to read.

    What a list holds then depends on the set of events and on what was published, not on order, batches or repetition.
    """

    def __init__(self, connection: RedisConnection, *, max_stored: int) -> None:
        """Args:
        max_stored: how many behaviours a list may hold, published ones included; the oldest are cut off.
        """
        self._connection = connection
        self._max_stored = max_stored
        self._one_long_call = asyncio.Lock()  # at a time: ten of them together would hold Redis ten times as long

    async def write(self, events: Sequence[BehaviourEvent], *, max_behaviours: int) -> EventCounts:
        """Add some events: most in one round trip, late ones to long lists in steps that leave Redis time for others.

        Each step is one of Redis's own, after which the list is what its events say. A user's events may take several.

        Args:
            max_behaviours: that the model takes; a list may hold as many at least.

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
        """One round trip; takes off the users' events what was done. Raises: FeatureStoreUnavailable."""
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
    """One user's events that are to be written, newest first; of equal timestamps the last by its id."""

    user_id: str
    left: list[BehaviourEvent]


def _counts(reply: Sequence[int] | None, *, at_least: int, at_most: int) -> EventCounts:
    """Raises: FeatureStoreUnavailable."""
    counts = EventCounts(*reply) if reply is not None and len(reply) == _NUM_COUNTS else None
    if counts is None or not at_least <= counts.total <= at_most:
        raise FeatureStoreUnavailable(f"no reply to a script of events: {reply!r:.100}", StoreFailure.MALFORMED)
    return counts


def _by_user(events: Sequence[BehaviourEvent]) -> list[_User]:
    """Without the repeated ones."""
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
