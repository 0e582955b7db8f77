"""Time subjects in turns on one core, after a check that they agree."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from bench.serving.material import Material
from bench.serving.setting import AGREEMENT
from bench.serving.subjects import Skipped, Subject
from dinrank.model.bundle.request import ScoringRequest

_WARM_UP = 2


class Disagreement(Exception):
    """Two subjects give different CTRs, so their times cannot be compared."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Time per request of one subject.

    Attributes:
        cpu_ms: median CPU time of the process. It is the compared figure: other work on the machine hardly affects it.
        wall_ms: median by the clock; on an otherwise idle machine the same.
        lowest_ms, highest_ms: CPU time.
    """

    cpu_ms: float
    wall_ms: float
    lowest_ms: float
    highest_ms: float
    rounds: int

    @classmethod
    def of(cls, cpu_s: Sequence[float], wall_s: Sequence[float]) -> "Timing":
        return cls(1e3 * median(cpu_s), 1e3 * median(wall_s), 1e3 * min(cpu_s), 1e3 * max(cpu_s), len(cpu_s))


@dataclass(frozen=True, slots=True)
class Comparison:
    """Attributes:
    timings: by subject.
    skipped: reason by subject.
    largest_difference: between two subjects' CTRs of one candidate.
    """

    timings: Mapping[str, Timing]
    skipped: Mapping[str, str]
    largest_difference: float


def compare(
    subjects: Mapping[str, Subject],
    material: Material,
    requests: Sequence[ScoringRequest],
    *,
    rounds: int,
    witnesses: Mapping[str, Subject] | None = None,
) -> Comparison:
    """Prepare all, check that they agree on every request, then time them in turns, a request each per round.

    Args:
        witnesses: must agree too, and are not timed.

    Raises:
        Disagreement: before anything is timed.
    """
    ready, skipped = {}, {}
    for name, subject in subjects.items():
        try:
            subject.prepare(material, requests)
        except Skipped as exc:
            skipped[name] = str(exc)
        else:
            ready[name] = subject
    if not ready:
        return Comparison({}, skipped, 0.0)
    for witness in (witnesses or {}).values():
        witness.prepare(material, requests)
    compared = {**ready, **(witnesses or {})}
    difference = float(np.max([largest_difference(compared, number) for number in range(len(requests))]))
    if not difference <= AGREEMENT:
        raise Disagreement(f"CTRs of {', '.join(compared)} differ by up to {difference:.2e}; {AGREEMENT:g} is allowed")
    return Comparison(take_turns(ready, len(requests), rounds=rounds), skipped, difference)


def largest_difference(subjects: Mapping[str, Subject], number: int) -> float:
    """Return the largest difference between any two subjects' CTRs of one request.

    Raises:
        Disagreement: all candidates have nearly the same CTR, so agreement would prove nothing.
    """
    ctrs = [ctr for ctr in (subject.score(number) for subject in subjects.values()) if ctr is not None]
    if not ctrs:
        return 0.0
    stacked: np.ndarray[Any, Any] = np.stack([np.asarray(ctr, dtype=np.float64) for ctr in ctrs])
    if not np.ptp(stacked[0]) > 100 * AGREEMENT:
        raise Disagreement(f"the CTRs of request {number} lie within {np.ptp(stacked[0]):.1e}: nothing to compare")
    return float(np.ptp(stacked, axis=0).max())


def take_turns(subjects: Mapping[str, Subject], num_requests: int, *, rounds: int) -> dict[str, Timing]:
    """Run A, B, C, A, B, C …, the first rounds not counted."""
    cpu_s: dict[str, list[float]] = {name: [] for name in subjects}
    wall_s: dict[str, list[float]] = {name: [] for name in subjects}
    for round_ in range(_WARM_UP + rounds):
        for name, subject in subjects.items():
            wall_started, cpu_started = time.perf_counter(), time.process_time()
            subject.score(round_ % num_requests)
            cpu, wall = time.process_time() - cpu_started, time.perf_counter() - wall_started
            if round_ >= _WARM_UP:
                cpu_s[name].append(cpu)
                wall_s[name].append(wall)
    return {name: Timing.of(cpu_s[name], wall_s[name]) for name in subjects}
