"""Admission and load shedding of a worker: decide which requests run, queue, or are refused. Does not wait itself."""

import time
from collections import OrderedDict
from collections.abc import Callable

from dinrank.service.errors import DeadlineTooShort, Overloaded

PLACES_BESIDE_SCORING = 7  # for requests waiting on Redis, or being read or answered; decision 17 has the arithmetic


class Turn:
    """One request's place in the queue, and then at work.

    Attributes:
        has_place: True while the request is at work.
        wake: called once, when a waiting request gets its place.
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
    """At most `num_places` requests at work; the others queue in order of arrival, or are refused at once.

    The wait is estimated from recent service times: with all places taken, a request leaves every
    `time at work / num_places` seconds (Little's law), and each request ahead in the queue takes one such gap. At work
    a request waits once more, for a scoring thread; `max_wait_s` covers both waits.
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
        """Return a turn that has a place or waits for one. Every turn must `leave` in the end.

        Args:
            remaining_s: how long the caller still waits.

        Raises:
            Overloaded: the queue is full or the wait would be too long.
            DeadlineTooShort: even the quickest recent request would not have met the deadline.
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
        """Return how long a turn may wait, in seconds."""
        now_s = self._clock()
        return min(self.max_wait_s - self._wait_at_work.at(now_s), remaining_s - self._quickest.at(now_s))

    def refuse_late(self, remaining_s: float) -> None:
        """Check the deadline again, once the place is free or the patience has ended.

        Raises:
            DeadlineTooShort
        """
        self._refuse_hopeless(remaining_s, 0.0, self._clock())

    def leave(self, turn: Turn, *, was_answered: bool, store_s: float = 0.0, waited_s: float = 0.0) -> None:
        """Release the request's place, at work or in the queue.

        Args:
            was_answered: with a ranking; its time then feeds the estimate of the quickest answer.
            store_s: the part of that time spent on the feature store, which an answer can do without.
            waited_s: the part of that time spent waiting for the scoring to begin.
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
    """Do nothing: the `wake` of a turn that has its place from the start."""


_STALE_S = 1.0  # an older estimate says nothing about the present


class Estimate:
    """Exponentially weighted moving average of a duration, in seconds.

    Expires after a second without a measurement: an estimate that makes the service refuse every caller would
    otherwise never be corrected.
    """

    __slots__ = ("_fall", "_measured_s", "_rise", "_value_s")

    def __init__(self, *, rise: float = 0.125, fall: float = 0.125) -> None:
        """Args:
        rise, fall: the weight of a measurement above and of one below the estimate. A fall of 1 with a small rise
            tracks the quickest recent ones, equal weights track the mean.
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
        """Return the estimate; 0 if there is none."""
        return 0.0 if now_s - self._measured_s > _STALE_S else self._value_s
