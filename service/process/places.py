"""Connection limit: at most so many at a time; the longest idle one is evicted for a new one."""

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

_LOOK_HOLDS_S = 0.02  # how long a scan of the holders stays valid

_LOOK_SIZE = 32

_MAX_TURNED_AWAY = 64  # at a time; further ones are closed without an answer


class Ease(IntEnum):
    """Eviction order of connections: the smallest number loses least."""

    IDLE = 0  # no request: in its TLS handshake, before its first request, after its last answer
    IN_HEAD = 1  # a part of a head has arrived
    STUCK = 2  # a body is incomplete, or an answer is not being read


class Holder(Protocol):
    """A connection that may hold a place."""

    def ease(self) -> Ease | None:
        """Return how easily it can be evicted; None while a request is being answered."""

    def give_way(self) -> None:
        """Close at once."""


class Places:
    """The places of one worker, or of its probes.

    Args:
        on_given_way: called for each evicted connection.
    """

    def __init__(self, limit: int, *, on_given_way: Callable[[], None]) -> None:
        self.limit = limit
        self._on_given_way = on_given_way
        self._holders: OrderedDict[Holder, None] = OrderedDict()  # least recently active first
        self.note_activity = self._holders.move_to_end  # for a holder with a place
        self._turned_away: set[Holder] = set()
        self._next: list[tuple[Ease, Holder]] = []  # to be evicted, last one first
        self._looked_at_s = 0.0
        self._saw_nobody = False  # the last scan found no connection to evict

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, holder: Holder) -> bool:
        """Give a place; return False if all are taken by requests being answered."""
        if len(self._holders) >= self.limit and not self.make_room():
            return False
        self._holders[holder] = None
        return True

    def turn_away(self, holder: Holder) -> bool:
        """Register a connection that will only be told that it has no place; return False if there are too many."""
        if len(self._turned_away) >= _MAX_TURNED_AWAY:
            return False
        self._turned_away.add(holder)
        return True

    def leave(self, holder: Holder) -> None:
        """Release a connection's place, if it has one."""
        self._holders.pop(holder, None)
        self._turned_away.discard(holder)

    def make_room(self) -> bool:
        """Evict the connection that is missed least; return False if there is none."""
        now_s = time.monotonic()
        if now_s > self._looked_at_s + _LOOK_HOLDS_S:
            self._next, self._saw_nobody = [], False
        while not self._saw_nobody:
            if not self._next:
                self._next, self._looked_at_s = self._seen(), now_s
                self._saw_nobody = not self._next
                continue
            ease_then, holder = self._next.pop()
            ease = holder.ease() if holder in self._holders else None
            if ease is not None and ease <= ease_then:
                del self._holders[holder]
                self._on_given_way()
                holder.give_way()
                return True
        return False

    def _seen(self) -> list[tuple[Ease, Holder]]:
        """Return some connections that may be evicted, the first one last."""
        by_ease: dict[Ease, list[tuple[Ease, Holder]]] = {ease: [] for ease in Ease}
        for holder in self._holders:
            ease = holder.ease()
            if ease is None:
                continue
            by_ease[ease].append((ease, holder))
            if len(by_ease[Ease.IDLE]) == _LOOK_SIZE:
                break
        in_order = [each for ease in Ease for each in by_ease[ease]]
        return in_order[:_LOOK_SIZE][::-1]
