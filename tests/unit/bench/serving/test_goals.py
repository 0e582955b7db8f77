"""Goals are judged by hand-made figures."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import pytest

from bench.harness.load import Outcome
from bench.serving.goals import GOALS, judge
from bench.serving.plot import draw
from bench.serving.results import Results, ScoringResults
from bench.serving.setting import (
    BENTOML,
    EAGER,
    FULL,
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
from bench.serving.tables import tables
from bench.serving.timing import Timing
from bench.serving.under_load import Load, Saturation, ServiceResults, summarise_load


def scoring(shape: Shape, cpu_ms: Mapping[str, float], skipped: Mapping[str, str] | None = None) -> ScoringResults:
    timings = {name: Timing(value, 2 * value, value, value, 5) for name, value in cpu_ms.items()}
    return ScoringResults("din", shape, timings, skipped or {}, 0.0)


def service(shape: Shape, per_second: Mapping[str, float], loads: Mapping[str, list[Load]]) -> ServiceResults:
    return ServiceResults(
        shape, {name: Saturation(value, 1.0, [value], 0, 0) for name, value in per_second.items()}, loads
    )


def load(share: float, p50_ms: float, p99_ms: float) -> Load:
    return Load(share, 1.0, p50_ms, p99_ms, p99_ms, 100, 0, 0, 0.1, 0.01)


SCORING = [
    scoring(SHORT, {PRODUCTS: 10.0, TABLE: 2.0, PLAIN: 17.0, ONE_GRAPH: 26.0, ORT: 51.0, EAGER: 80.0}),
    scoring(LONG, {TABLE: 10.0, PLAIN: 200.0}),
    scoring(VERY_LONG, {TABLE: 120.0}),
]
SERVICES = [
    service(
        SERVICE,
        {TABLE: 600.0, NAIVE: 50.0, BENTOML: 100.0, LITSERVE: 150.0},
        {TABLE: [load(0.2, 1.0, 1.5), load(0.6, 2.0, 4.0)]},
    ),
    service(WIDE_SERVICE, {TABLE: 500.0, NAIVE: 10.0}, {}),
]


def test_every_goal_is_judged_by_its_figure() -> None:
    found = [(verdict.measured, verdict.met) for verdict in judge(Results(SCORING, SERVICES))]
    assert found == [
        (pytest.approx(1.7), True),  # a limit that is just reached is kept
        (pytest.approx(80 / 17), True),
        (pytest.approx(3.0), True),
        (pytest.approx(40.0), True),
        (pytest.approx(13.0), True),
        (pytest.approx(0.05), True),
        (pytest.approx(120.0), False),
        (pytest.approx(12.0), False),
        (pytest.approx(50.0), True),
        (pytest.approx(6.0), True),
        (pytest.approx(4.0), False),
        (pytest.approx(2.0), True),
    ]


def test_what_was_not_measured_is_not_met_and_says_why() -> None:
    cpu_ms = {PRODUCTS: 10.0, PLAIN: 20.0, ONE_GRAPH: 30.0}
    without = [scoring(SHORT, cpu_ms, {TABLE: "the bundle has no activation table"})]
    verdicts = judge(Results(without, []))
    assert len(verdicts) == len(GOALS)
    assert [verdict.measured for verdict in verdicts] == [2.0] + [None] * (len(GOALS) - 1)
    assert not any(verdict.met for verdict in verdicts)
    assert verdicts[4].reason == f"{TABLE}: the bundle has no activation table"
    assert verdicts[7].reason == "the service was not measured"


def test_a_missing_share_of_saturation_is_not_made_up() -> None:
    only = [service(SERVICE, {TABLE: 600.0, NAIVE: 50.0}, {TABLE: [load(0.2, 1.0, 1.5)]})]
    assert judge(Results([], only))[-1].reason == "no load of 60% was measured"


def test_full_runs_measure_what_the_goals_ask_for() -> None:
    assert {SERVICE, WIDE_SERVICE} == set(FULL.service_shapes)
    assert {shape.num_behaviours for shape in (SHORT, LONG, VERY_LONG)} == set(FULL.rounds)
    assert (FULL.load_shares[0], FULL.load_shares[-1]) == (0.2, 1.2)
    assert 0.6 in FULL.load_shares


def test_scoring_results_survive_json() -> None:
    for results in SCORING:
        assert ScoringResults.from_json(json.loads(json.dumps(asdict(results)))) == results


def test_every_figure_and_reason_is_in_the_tables() -> None:
    results = Results([*SCORING, scoring(SHORT, {PLAIN: 1.0}, {TABLE: "no table"})], SERVICES)
    cells = [
        str(cell) for table in tables(results, judge(results)) for column in table.columns for cell in column.cells
    ]
    assert {"17.00", "no table", "600.0", "12.00 ×", "60%", "yes", "no"} <= set(cells)


def test_the_picture_has_a_panel_for_each_thing_that_was_measured(tmp_path: Path) -> None:
    draw(Results(SCORING, SERVICES), tmp_path / "picture")
    svg = (tmp_path / "picture.svg").read_text(encoding="utf-8")
    # Scoring at one length, saturation of both shapes, loads of the one service that had some.
    assert len(set(re.findall(r'<g id="axes_(\d+)">', svg))) == 5  # an axis of errors beside that of latencies
    assert (tmp_path / "picture.png").stat().st_size > 0


def test_nothing_measured_draws_no_picture(tmp_path: Path) -> None:
    draw(Results([], []), tmp_path / "picture")
    assert list(tmp_path.iterdir()) == []


def test_rounds_of_a_load_are_summed_up_by_their_median() -> None:
    outcomes = [
        Outcome(
            sent=10,
            answered=10 - errors,
            errors=errors,
            degraded=0,
            seconds=2.0,
            latencies_ms={"p50": p50, "p95": 2 * p50, "p99": 3 * p50},
            lateness_ms=p50 / 10,
            cpu_s=0.1,
        )
        for p50, errors in ((5.0, 0), (1.0, 2), (2.0, 1))
    ]
    summary = summarise_load(0.6, 7.0, outcomes)
    assert (summary.p50_ms, summary.p95_ms, summary.p99_ms) == (2.0, 4.0, 6.0)
    assert (summary.sent, summary.errors, summary.lateness_ms) == (30, 3, 0.2)
    assert summary.generator_cpu_share == pytest.approx(0.05)
