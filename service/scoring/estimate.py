"""How long something takes, by how long it took lately."""

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
