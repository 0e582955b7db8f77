"""Write behaviours into Redis one by one, as they happen: in any order, as often as they come."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from redis.exceptions import ResponseError

from service.errors import FeatureStoreUnavailable, StoreFailure
from service.store.connection import RedisConnection
from service.store.exchange import Command
from service.store.layout import behaviours_key, events_key
from service.store.scripts import ADD_EVENTS, run_script


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

    async def write(self, events: Sequence[BehaviourEvent], *, max_behaviours: int) -> EventCounts:
        """Add some events in one round trip: a step of Redis's own for each user.

        Args:
            max_behaviours: that the model takes; a list may hold as many at least.

        Raises:
            FeatureStoreUnavailable: Redis refused (it may be out of memory) or did not answer in time. Some users'
                events may have been added, each user's all or none; write all of them again.
        """
        of_users: dict[str, list[BehaviourEvent]] = {}
        for event in events:
            of_users.setdefault(event.user_id, []).append(event)
        bound = max(self._max_stored, max_behaviours)
        calls = [_arguments(*of_user, bound) for of_user in of_users.items()]
        replies = await run_script(self._connection, ADD_EVENTS, calls)
        counts = EventCounts()
        for reply in replies:
            if isinstance(reply, ResponseError):
                raise FeatureStoreUnavailable(f"Redis refused to write: {reply}", StoreFailure.REFUSED) from reply
            counts += EventCounts(*reply)
        return counts


def _arguments(user_id: str, events: Sequence[BehaviourEvent], bound: int) -> Command:
    keys = (behaviours_key(user_id), events_key(user_id))
    parts = [part for each in events for part in (each.event_id, repr(float(each.timestamp)), each.element)]
    return (len(keys), *keys, bound, *parts)
