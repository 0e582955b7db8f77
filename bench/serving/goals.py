"""Performance goals and verdicts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.serving.results import NotMeasured, Results
from bench.serving.setting import (
    BENTOML,
    EAGER,
    LITSERVE,
    LONG,
    NAIVE,
    ONE_GRAPH,
    ORT,
    PLAIN,
    PRODUCTS,
    SERVICE,
    SHORT,
    TABLE,
    VERY_LONG,
    WIDE_SERVICE,
    Shape,
)
from dinrank.model.nets.names import NetworkName

SHARE_OF_TAIL = 0.6  # of saturation, at which p99 is compared with p50


class Bound(StrEnum):
    AT_MOST = "at most"
    AT_LEAST = "at least"


@dataclass(frozen=True, slots=True)
class Goal:
    """Attributes:
    measure: the figure. Raises: NotMeasured.
    """

    name: str
    bound: Bound
    limit: float
    unit: str
    measure: Callable[[Results], float]


@dataclass(frozen=True, slots=True)
class Verdict:
    """Attributes:
    measured: None if it was not; see `reason`.
    met: False also if it was not measured.
    """

    name: str
    goal: str
    measured: float | None
    met: bool
    reason: str = ""


def judge(results: Results) -> list[Verdict]:
    return [_judge(goal, results) for goal in GOALS]


def _judge(goal: Goal, results: Results) -> Verdict:
    text = f"{goal.bound} {goal.limit:g} {goal.unit}"
    try:
        measured = goal.measure(results)
    except NotMeasured as exc:
        return Verdict(goal.name, text, None, False, str(exc))
    is_met = measured <= goal.limit if goal.bound is Bound.AT_MOST else measured >= goal.limit
    return Verdict(goal.name, text, measured, is_met)


def _time_ratio(shape: Shape, numerator: str, denominator: str) -> Callable[[Results], float]:
    def measure(results: Results) -> float:
        above, below = (results.timing(NetworkName.DIN, shape, name) for name in (numerator, denominator))
        return above.cpu_ms / below.cpu_ms

    return measure


def _throughput_ratio(shape: Shape, other: str) -> Callable[[Results], float]:
    return lambda results: results.per_second(shape, TABLE) / results.per_second(shape, other)


def _tail_ratio(results: Results) -> float:
    service = results.service(SERVICE)
    if TABLE not in service.loads:
        raise NotMeasured(f"{TABLE}: {service.skipped.get(TABLE, 'it was not measured')}")
    for load in service.loads[TABLE]:
        if load.share == SHARE_OF_TAIL:
            return load.p99_ms / load.p50_ms
    raise NotMeasured(f"no load of {SHARE_OF_TAIL:.0%} was measured")


_TIMES, _MS = "×", "ms"
GOALS: Sequence[Goal] = (
    Goal(
        f"plain graph / its matrix products, {SHORT}", Bound.AT_MOST, 1.7, _TIMES, _time_ratio(SHORT, PLAIN, PRODUCTS)
    ),
    Goal(f"{EAGER} / plain graph, {SHORT}", Bound.AT_LEAST, 4, _TIMES, _time_ratio(SHORT, EAGER, PLAIN)),
    Goal(f"{ORT} / plain graph, {SHORT}", Bound.AT_LEAST, 3, _TIMES, _time_ratio(SHORT, ORT, PLAIN)),
    Goal(f"{EAGER} / activation table, {SHORT}", Bound.AT_LEAST, 40, _TIMES, _time_ratio(SHORT, EAGER, TABLE)),
    Goal(
        f"one folded graph / activation table, {SHORT}", Bound.AT_LEAST, 8, _TIMES, _time_ratio(SHORT, ONE_GRAPH, TABLE)
    ),
    Goal(f"activation table / plain graph, {LONG}", Bound.AT_MOST, 0.1, _TIMES, _time_ratio(LONG, TABLE, PLAIN)),
    Goal(
        f"activation table, {VERY_LONG}",
        Bound.AT_MOST,
        100,
        _MS,
        lambda results: results.timing(NetworkName.DIN, VERY_LONG, TABLE).cpu_ms,
    ),
    Goal(
        f"requests/s with the table / {NAIVE}, {SERVICE}", Bound.AT_LEAST, 15, _TIMES, _throughput_ratio(SERVICE, NAIVE)
    ),
    Goal(
        f"requests/s with the table / {NAIVE}, {WIDE_SERVICE}",
        Bound.AT_LEAST,
        40,
        _TIMES,
        _throughput_ratio(WIDE_SERVICE, NAIVE),
    ),
    Goal(
        f"requests/s with the table / {BENTOML}, {SERVICE}",
        Bound.AT_LEAST,
        5,
        _TIMES,
        _throughput_ratio(SERVICE, BENTOML),
    ),
    Goal(
        f"requests/s with the table / {LITSERVE}, {SERVICE}",
        Bound.AT_LEAST,
        5,
        _TIMES,
        _throughput_ratio(SERVICE, LITSERVE),
    ),
    Goal(f"p99 / p50 at {SHARE_OF_TAIL:.0%} of saturation, {SERVICE}", Bound.AT_MOST, 2.5, _TIMES, _tail_ratio),
)
