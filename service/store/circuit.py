"""State machine of a circuit breaker (closed, open, probing), without a clock and without a store."""

from enum import Enum, auto


class Outcome(Enum):
    """Outcome of a call."""

    SUCCESS = auto()
    FAILURE = auto()
    CUT_SHORT = auto()  # the caller gave up before the store's timeout: proves nothing by itself


class Circuit:
    """Opens after too many consecutive failures, then lets single probes through.

    While open it rejects all calls for `open_s`. After that the next call is the probe: its success closes the
    circuit, its failure keeps it open for as long again. Calls that began before the last change of state are not
    counted: they say nothing about the present.

    Calls that were cut short count by their duration: as much fruitless waiting as the store's own timeout is one
    failure. Otherwise callers with short deadlines would wait for a dead store for ever, each as long as it can.

    Times are seconds of any monotonic clock.
    """

    __slots__ = ("_era", "_failures", "_fruitless_s", "_is_probing", "_limit", "_open_s", "_open_until_s", "_timeout_s")

    def __init__(self, *, failures: int, open_s: float, timeout_s: float) -> None:
        """Args:
        failures: consecutive failures that open the circuit; at least 1.
        timeout_s: the store's own timeout of a call.
        """
        self._limit = failures
        self._open_s = open_s
        self._timeout_s = timeout_s
        self._era = 0  # grows whenever the circuit opens or closes
        self._open_until_s: float | None = None
        self._is_probing = False
        self._failures = 0
        self._fruitless_s = 0.0

    @property
    def is_open(self) -> bool:
        return self._open_until_s is not None

    def begin(self, now_s: float) -> int | None:
        """Return a number to pass to `end`, or None if the call must not be made."""
        if self._open_until_s is not None:
            if self.leaves_alone(now_s) or self._is_probing:
                return None
            self._is_probing = True
        return self._era

    def end(self, call: int, outcome: Outcome, now_s: float, *, waited_s: float) -> None:
        """Record the outcome of a call. Every call that began must end."""
        if call != self._era:
            return
        self._is_probing = False
        if outcome is Outcome.SUCCESS:
            if self._open_until_s is not None:
                self._change(open_until_s=None)
            self._failures = 0
            self._fruitless_s = 0.0
            return
        if outcome is Outcome.CUT_SHORT:
            self._fruitless_s += waited_s
            if self._fruitless_s < self._timeout_s:
                return
        self._fruitless_s = 0.0
        self._failures += 1
        if self._open_until_s is not None:
            self._open_until_s = now_s + self._open_s
        elif self._failures >= self._limit:
            self._change(open_until_s=now_s + self._open_s)

    def leaves_alone(self, now_s: float) -> bool:
        """Return True while the circuit is open and it is too early for a probe."""
        return self._open_until_s is not None and now_s < self._open_until_s

    def is_forgotten(self, now_s: float, *, after_s: float) -> bool:
        """Return True if a probe has been due for `after_s` and no call came."""
        return self._open_until_s is not None and not self._is_probing and now_s > self._open_until_s + after_s

    def _change(self, *, open_until_s: float | None) -> None:
        self._era += 1
        self._open_until_s = open_until_s
