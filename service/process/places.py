"""Who may keep a connection: so many at a time, and the one that has done nothing for longest gives way."""

import time
from collections import OrderedDict
from collections.abc import Callable
from enum import IntEnum
from typing import Protocol

_LOOK_HOLDS_S = 0.02  # so long what was seen of the holders is good for

_LOOK_SIZE = 32

_MAX_TURNED_AWAY = 64  # at a time; for more there is no time to tell them


class Ease(IntEnum):
    """How little is lost when a connection ends: the smallest number loses least."""

    IDLE = 0  # it asks nothing: in its TLS handshake, before its first request, after its last answer
    IN_HEAD = 1  # a part of a head has come
    STUCK = 2  # a body has not come whole, or an answer is not taken


class Holder(Protocol):
    """A connection that may have a place."""

    def ease(self) -> Ease | None:
        """None while a request is being answered."""

    def give_way(self) -> None:
        """End at once."""


class Places:
    """The places of one worker, or of its probes.

    Args:
        on_given_way: called for each that had to end for another.
    """

    def __init__(self, limit: int, *, on_given_way: Callable[[], None]) -> None:
        self.limit = limit
        self._on_given_way = on_given_way
        self._holders: OrderedDict[Holder, None] = OrderedDict()  # without activity for longest first
        self.note_activity = self._holders.move_to_end  # of a holder that has a place
        self._turned_away: set[Holder] = set()
        self._next: list[tuple[Ease, Holder]] = []  # to give way, the last one first
        self._looked_at_s = 0.0
        self._saw_nobody = False  # who may end

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, holder: Holder) -> bool:
        """False when all places are taken by requests that are being answered."""
        if len(self._holders) >= self.limit and not self.make_room():
            return False
        self._holders[holder] = None
        return True

    def turn_away(self, holder: Holder) -> bool:
        """Whether there is room to tell one that it has no place."""
        if len(self._turned_away) >= _MAX_TURNED_AWAY:
            return False
        self._turned_away.add(holder)
        return True

    def leave(self, holder: Holder) -> None:
        """Of anybody, also of one who left before."""
        self._holders.pop(holder, None)
        self._turned_away.discard(holder)

    def make_room(self) -> bool:
        """End the connection that is missed least; False when there is none that may end."""
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
        """Some that may end, the first to do so last."""
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
