"""One fault from before to after, and the verdict on it."""

import time
from collections import Counter
from dataclasses import dataclass

from tests.chaos.driver import DEGRADED, OK, Sent, percentile_ms
from tests.chaos.fault import Fault
from tests.chaos.ground import Ground, Unmet

BEFORE_S = 1.5
AFTER_S = 2.0  # of full answers, when it is over
_DETAILS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of the requests around one fault.

    Attributes:
        outcomes: of all requests, by kind.
        recovered_after_s: from the end of the fault to the last request that did not fare well; 0 when there was none.
        unpromised: requests that fared as nobody promised, and promises that turned out untrue.
        details: some of them, in words.
    """

    fault: str
    topology: str
    outcomes: Counter[str]
    p50_ms: float
    p99_ms: float
    recovered_after_s: float
    unpromised: int
    details: tuple[str, ...]

    @property
    def requests(self) -> int:
        return self.outcomes.total()

    @property
    def degraded(self) -> int:
        return self.outcomes[DEGRADED]

    @property
    def failures(self) -> dict[str, int]:
        """By kind: all that were not answered with a ranking in time."""
        return {kind: count for kind, count in sorted(self.outcomes.items()) if kind not in (OK, DEGRADED)}


def run_fault(fault: Fault, ground: Ground) -> Verdict:
    """Steady load before, during and after the fault."""
    ground.unmet.clear()
    first = len(ground.driver.sent)
    with ground.driver.running():
        time.sleep(BEFORE_S)
        began_s = time.monotonic()
        try:
            with fault.inject(ground):
                time.sleep(fault.lasts_s)
        except Unmet as exc:
            ground.unmet.append(str(exc))
        ended_s = time.monotonic()
        _wait_for_recovery(ground, ended_s, fault.recovery_s)
        time.sleep(AFTER_S)
    return _verdict(fault, ground, ground.driver.sent[first:], began_s, ended_s)


def _wait_for_recovery(ground: Ground, ended_s: float, limit_s: float) -> None:
    """Until half a second's requests all fared well, or the limit is over."""
    while time.monotonic() < ended_s + limit_s:
        time.sleep(0.5)
        if set(ground.driver.outcomes(since_s=time.monotonic() - 0.5)) == {OK}:
            return


def _verdict(fault: Fault, ground: Ground, sent: list[Sent], began_s: float, ended_s: float) -> Verdict:
    unpromised = [each for each in sent if not _is_promised(fault, each, began_s, ended_s + fault.recovery_s)]
    worse = [each.at_s + each.duration_s for each in sent if each.outcome != OK]
    details = [
        *ground.unmet,
        *(
            f"{each.at_s - began_s:+.2f} s: {each.outcome} ({each.detail or 'not promised then'})"
            for each in unpromised
        ),
    ]
    return Verdict(
        fault=fault.name,
        topology=fault.topology,
        outcomes=Counter(each.outcome for each in sent),
        p50_ms=percentile_ms(sent, 0.5),
        p99_ms=percentile_ms(sent, 0.99),
        recovered_after_s=max(0.0, max(worse, default=ended_s) - ended_s),
        unpromised=len(unpromised) + len(ground.unmet),
        details=tuple(details[:_DETAILS]),
    )


def _is_promised(fault: Fault, each: Sent, began_s: float, until_s: float) -> bool:
    touches_fault = each.at_s + each.duration_s >= began_s and each.at_s <= until_s
    return each.outcome == OK or (touches_fault and fault.allows(each.outcome))
