"""What the overload benchmark makes of its measurements."""

import pytest

from bench.harness.load import Outcome
from bench.overload import Load, goodput_share, goodput_share_per_cpu_s, refusal_cpu_ms


def load(times: float, *, answered: int, refused: int, degraded: int = 0, cpu_s: float) -> Load:
    """Of ten seconds."""
    outcome = Outcome(
        sent=answered + refused,
        answered=answered,
        errors=refused,
        degraded=degraded,
        seconds=10.0,
        latencies_ms={},
        lateness_ms=0.0,
        cpu_s=0.0,
        refused=refused,
    )
    return Load(times, outcome, cpu_s)


ROUND = [
    load(0.0, answered=1_000, refused=0, cpu_s=5.0),
    load(1.0, answered=950, refused=50, cpu_s=4.9),
    load(3.0, answered=900, refused=2_100, cpu_s=5.55),
]


def test_goodput_is_full_answers_against_the_most_of_the_round() -> None:
    assert goodput_share(ROUND) == pytest.approx(900 / 1_000)
    degraded = [*ROUND[:-1], load(3.0, answered=900, refused=2_100, degraded=300, cpu_s=5.0)]
    assert goodput_share(degraded) == pytest.approx(600 / 1_000)


def test_goodput_per_cpu_second_leaves_out_how_much_of_a_core_there_was() -> None:
    assert goodput_share_per_cpu_s(ROUND) == pytest.approx((900 / 5.55) / (1_000 / 5.0))


def test_a_refusal_costs_what_answers_leave() -> None:
    # 900 answers of 5 ms each are 4.5 s of 5.55 s; 2,100 refusals took the rest.
    assert refusal_cpu_ms(ROUND) == pytest.approx(0.5)
