"""Circuit breaker per Redis node: after repeated failures, fail fast for a while."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.store.circuit import Circuit, Outcome

T = TypeVar("T")

_FORGOTTEN_AFTER = 10  # times `open_s`: a part without requests for so long is taken to be gone

Announce = Callable[[str, bool, str], None]  # the part, True if it opened, the reason


class Breaker:
    """Circuit breaker with one circuit per part of a store.

    If half of a cluster is down, users of the other half are not affected. One instance per process, shared by its
    models; each worker learns on its own.
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
        failures: consecutive failures that open a part's circuit.
        open_s: how long it stays open; then one fetch is the probe.
        timeout_s: the store's own timeout of a fetch.
        announce: called when a part's circuit opens and when it closes.
        """
        self._failures = failures
        self._open_s = open_s
        self._timeout_s = timeout_s
        self._announce = announce
        self._clock = clock
        self._circuits: dict[str, Circuit] = {}
        self._open_parts: set[str] = set()

    async def guarded(self, part: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `fetch`. Raises: FeatureStoreUnavailable, from the store or if the circuit is open."""
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
        finally:  # also for a cancelled fetch: a probe must always end
            now_s = self._clock()
            circuit.end(call, outcome, now_s, waited_s=now_s - started_s)
            if self._circuits.get(part) is circuit:  # else it was forgotten meanwhile
                self._look_at(part, circuit, reason)
            if self._open_parts:
                self._forget(now_s)
        return stored

    def refuse_left_alone(self, part: str) -> None:
        """Fail fast for calls that reach the same store by other means, while the part's circuit is open.

        The outcome of those calls does not count here: Redis may refuse writes and still answer reads.

        Raises:
            FeatureStoreUnavailable: the circuit is open.
        """
        if part in self._open_parts and self._circuits[part].leaves_alone(self._clock()):
            raise _left_alone()

    def refuse_any_left_alone(self) -> None:
        """Raises: FeatureStoreUnavailable, while any circuit is open."""
        for part in self._open_parts:
            self.refuse_left_alone(part)

    def _circuit(self, part: str) -> Circuit:
        circuit = self._circuits.get(part)
        if circuit is None:
            circuit = Circuit(failures=self._failures, open_s=self._open_s, timeout_s=self._timeout_s)
            self._circuits[part] = circuit
        return circuit

    def _look_at(self, part: str, circuit: Circuit, reason: str) -> None:
        """Announce a change of the circuit's state after a call."""
        if circuit.is_open and part not in self._open_parts:
            self._open_parts.add(part)
            self._announce(part, True, reason)
        elif not circuit.is_open and part in self._open_parts:
            self._open_parts.remove(part)
            self._announce(part, False, "it answers again")

    def _forget(self, now_s: float) -> None:
        """Drop parts that will never be probed: a failed cluster node may be replaced by one with another address."""
        after_s = _FORGOTTEN_AFTER * self._open_s
        gone = [part for part in self._open_parts if self._circuits[part].is_forgotten(now_s, after_s=after_s)]
        for part in gone:
            del self._circuits[part]
            self._open_parts.remove(part)
            self._announce(part, False, "it is not asked for any more")


def _left_alone() -> FeatureStoreUnavailable:
    return FeatureStoreUnavailable("the feature store failed too often and is not asked", StoreFailure.BREAKER)
