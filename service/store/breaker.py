"""What fails again and again is left alone for a while, and costs requests no timeout."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.circuit import Circuit, Outcome

T = TypeVar("T")

_FORGOTTEN_AFTER = 10  # times `open_s`: a part that nobody asks for any more is not there any more

Announce = Callable[[str, bool, str], None]  # the part, whether it is open, why


class Breaker:
    """Knows which parts of a store fail.

    Each part has a circuit of its own: half of a cluster that is gone costs the users of the other half nothing. One
    instance serves one process, whatever models it serves; workers learn by themselves.
    """

    def __init__(
        self,
        *,
        failures: int,
        open_s: float,
        timeout_s: float,
        announce: Announce,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args:
        failures: in a row, after which a part is left alone.
        open_s: for so long; then one fetch is the probe.
        timeout_s: the store's own limit of a fetch.
        announce: is told when a part begins and when it ceases to be left alone.
        """
        self._failures = failures
        self._open_s = open_s
        self._timeout_s = timeout_s
        self._announce = announce
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        self._open_parts: set[str] = set()

    async def guarded(self, part: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """What `fetch` gives. Raises: FeatureStoreUnavailable, of the store or because the part is left alone."""
        circuit = self._circuit(part)
        started_s = self._clock()
        call = circuit.begin(started_s)
        if call is None:
            raise _left_alone()
        outcome, reason = Outcome.CUT_SHORT, "no answer within the time that callers allow"
        try:
            stored = await fetch()
            outcome = Outcome.SUCCESS
        except FeatureStoreUnavailable as exc:
            outcome, reason = Outcome.FAILURE, str(exc)
            raise
        finally:  # also of a fetch that was cancelled: a probe must end, whatever ends it
            now_s = self._clock()
            circuit.end(call, outcome, now_s, waited_s=now_s - started_s)
            if self._circuits.get(part) is circuit:  # or it was forgotten meanwhile
                self._look_at(part, circuit, reason)
            if self._open_parts:
                self._forget(now_s)
        return stored

    def refuse_left_alone(self, part: str) -> None:
        """For what asks the same store by other means: it should not wait for a part that is known to fail.

        What comes of that does not count here: Redis may refuse to write and answer whoever reads.

        Raises:
            FeatureStoreUnavailable: the part is left alone.
        """
        if part in self._open_parts and self._circuits[part].leaves_alone(self._clock()):
            raise _left_alone()

    def refuse_any_left_alone(self) -> None:
        """Raises: FeatureStoreUnavailable, while any part is left alone."""
        for part in self._open_parts:
            self.refuse_left_alone(part)

    def _circuit(self, part: str) -> Circuit:
        circuit = self._circuits.get(part)
        if circuit is None:
            circuit = Circuit(failures=self._failures, open_s=self._open_s, timeout_s=self._timeout_s)
            self._circuits[part] = circuit
        return circuit

    def _look_at(self, part: str, circuit: Circuit, reason: str) -> None:
        """Announce what a call has changed."""
        if circuit.is_open and part not in self._open_parts:
            self._open_parts.add(part)
            self._announce(part, True, reason)
        elif not circuit.is_open and part in self._open_parts:
            self._open_parts.remove(part)
            self._announce(part, False, "it answers again")

    def _forget(self, now_s: float) -> None:
        """A cluster's node that failed may have been replaced by one with another address; nobody will probe it."""
        after_s = _FORGOTTEN_AFTER * self._open_s
        gone = [part for part in self._open_parts if self._circuits[part].is_forgotten(now_s, after_s=after_s)]
        for part in gone:
            del self._circuits[part]
            self._open_parts.remove(part)
            self._announce(part, False, "it is not asked for any more")


def _left_alone() -> FeatureStoreUnavailable:
    return FeatureStoreUnavailable("the feature store failed too often and is not asked", StoreFailure.BREAKER)
