"""Which requests a worker works on, which wait for their turn, and which are refused. Counts and times, no waiting."""

import time
from collections import OrderedDict
from collections.abc import Callable

from dinrank.service.errors import DeadlineTooShort, Overloaded

PLACES_BESIDE_SCORING = 7  # for requests in Redis, and on their way in or out; decision 17 has the arithmetic


class Turn:
    """One request's place in the queue, and then at work.

    Attributes:
        has_place: whether it is at work.
        wake: is called, once, when the place comes while the request waits.
    """

    __slots__ = ("has_place", "wake", "_began_s")

    def __init__(self) -> None:
        self.has_place = False
        self.wake: Callable[[], None] = _nobody_waits
        self._began_s = 0.0

    def begin(self, now_s: float) -> None:
        self.has_place = True
        self._began_s = now_s

    def worked_s(self, now_s: float) -> float:
        return now_s - self._began_s


class Admission:
    """At most `num_places` requests at work; the others wait in order of arrival, or are refused at once.

    What a wait will be is known from how long requests took lately: with all places taken a request leaves every
    `time at work / num_places` seconds (Little's law), and each one ahead in the queue takes one such gap. At work it
    waits once more, for the scoring, and `max_wait_s` is for both.
    """

    def __init__(
        self, *, num_places: int, max_waiting: int, max_wait_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._num_places = num_places
        self._max_waiting = max_waiting
        self.max_wait_s = max_wait_s
        self._clock = clock
        self._num_at_work = 0
        self._waiting: OrderedDict[Turn, None] = OrderedDict()
        self._time_at_work = Estimate()
        self._wait_at_work = Estimate()
        self._quickest = Estimate(rise=0.0625, fall=1.0)

    @property
    def num_at_work(self) -> int:
        return self._num_at_work

    @property
    def num_waiting(self) -> int:
        return len(self._waiting)

    def arrive(self, remaining_s: float) -> Turn:
        """A turn that has its place already, or that waits for it. It must `leave` in the end.

        Args:
            remaining_s: how long the caller still waits.

        Raises:
            Overloaded: the queue is full or the wait would be too long.
            DeadlineTooShort: even the quickest of late would not be answered by then.
        """
        now_s, turn = self._clock(), Turn()
        if self._num_at_work < self._num_places:  # then nobody waits
            self._refuse_hopeless(remaining_s, 0.0, now_s)
            self._start(turn, now_s)
            return turn
        wait_s = (len(self._waiting) + 1) * self._time_at_work.at(now_s) / self._num_places
        if len(self._waiting) >= self._max_waiting or wait_s + self._wait_at_work.at(now_s) > self.max_wait_s:
            raise Overloaded(wait_s=wait_s)
        self._refuse_hopeless(remaining_s, wait_s, now_s)
        self._waiting[turn] = None
        return turn

    def patience_s(self, remaining_s: float) -> float:
        """How long a turn may wait."""
        now_s = self._clock()
        return min(self.max_wait_s - self._wait_at_work.at(now_s), remaining_s - self._quickest.at(now_s))

    def refuse_late(self, remaining_s: float) -> None:
        """Look again when the place has come, or when the patience has ended without it.

        Raises:
            DeadlineTooShort
        """
        self._refuse_hopeless(remaining_s, 0.0, self._clock())

    def leave(self, turn: Turn, *, was_answered: bool, store_s: float = 0.0, waited_s: float = 0.0) -> None:
        """The request needs its place, or its place in the queue, no more.

        Args:
            was_answered: with a ranking; how long that took says how quick an answer can be.
            store_s: how much of that time it waited for the feature store, which it could have done without.
            waited_s: how much of that time it waited for the scoring to begin.
        """
        if not turn.has_place:
            del self._waiting[turn]
            return
        now_s = self._clock()
        worked_s = turn.worked_s(now_s)
        self._time_at_work.add(worked_s, now_s)
        if was_answered or waited_s:
            self._wait_at_work.add(waited_s, now_s)
        if was_answered:
            self._quickest.add(worked_s - store_s, now_s)
        self._num_at_work -= 1
        if self._waiting:
            following, _ = self._waiting.popitem(last=False)
            self._start(following, now_s)
            following.wake()

    def _start(self, turn: Turn, now_s: float) -> None:
        self._num_at_work += 1
        turn.begin(now_s)

    def _refuse_hopeless(self, remaining_s: float, wait_s: float, now_s: float) -> None:
        needed_s = wait_s + self._quickest.at(now_s)
        if remaining_s <= needed_s:
            raise DeadlineTooShort(wait_s=wait_s)


def _nobody_waits() -> None:
    """What a turn that has its place from the start would be woken by."""


_STALE_S = 1.0  # an older figure says nothing about now


class Estimate:
    """A duration that follows what is measured, in seconds.

    It moves a share of the way to each new measurement. After a second without any it is forgotten: a figure that
    makes callers be refused would otherwise keep itself from being mended.
    """

    __slots__ = ("_fall", "_measured_s", "_rise", "_value_s")

    def __init__(self, *, rise: float = 0.125, fall: float = 0.125) -> None:
        """Args:
        rise, fall: the share for a measurement above and for one below the estimate. A fall of 1 with a small rise
            gives what the quickest of late took, equal ones a mean.
        """
        self._rise = rise
        self._fall = fall
        self._value_s = 0.0
        self._measured_s = float("-inf")

    def add(self, duration_s: float, now_s: float) -> None:
        if now_s - self._measured_s > _STALE_S:
            self._value_s = duration_s
        else:
            difference_s = duration_s - self._value_s
            self._value_s += difference_s * (self._rise if difference_s > 0 else self._fall)
        self._measured_s = now_s

    def at(self, now_s: float) -> float:
        """0 while nothing is known."""
        return 0.0 if now_s - self._measured_s > _STALE_S else self._value_s
