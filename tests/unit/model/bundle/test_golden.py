"""Golden answers on their way through JSON."""

import dataclasses
import json
from typing import Any

import pytest

from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.golden import GoldenAnswer
from tests.fixtures.bundle import golden_answers


@pytest.mark.parametrize("number", range(3))
def test_a_golden_answer_survives_json(number: int) -> None:
    answer = golden_answers()[number]
    assert GoldenAnswer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


@pytest.mark.parametrize("document", [{}, [], {"request": {}, "ctr": []}, {"request": None, "ctr": []}])
def test_what_is_no_golden_answer_is_refused(document: Any) -> None:
    with pytest.raises(SchemaMismatch, match=r"golden.json: expected requests and their CTRs"):
        GoldenAnswer.from_json(document)


def test_tolerances_survive_json_and_are_absent_where_they_are_the_plain_one() -> None:
    answer = golden_answers()[1]
    assert answer.to_json().keys() == {"request", "ctr"}
    assert answer.allowed.tolist() == [1e-5] * len(answer.ctr)
    steep = dataclasses.replace(answer, tolerance=(1e-5, 0.004))
    assert GoldenAnswer.from_json(json.loads(json.dumps(steep.to_json()))) == steep
    assert steep.allowed.tolist() == [1e-5, 0.004]


@pytest.mark.parametrize(
    "tolerance", [[1e-5, 0.02], [1e-5, float("nan")], [1e-6, 1e-5], [-1.0, 1e-5], [1e-5], [1e-5] * 3]
)
def test_a_tolerance_that_would_let_any_graph_pass_is_refused(tolerance: list[float]) -> None:
    document = golden_answers()[1].to_json()
    with pytest.raises(SchemaMismatch, match=r"golden.json: expected a tolerance from 1e-05 to 0.01 per CTR, or none"):
        GoldenAnswer.from_json({**document, "tolerance": tolerance})


@pytest.mark.parametrize(
    ("ctr", "found"),
    [
        ("NaN", "nan"),
        ("Infinity", "inf"),
        ("1e999", "inf"),
        ("-0.001", "-0.001"),
        ("1.001", "1.001"),
        ('"0.5"', "'0.5'"),
        ("true", "True"),
        ("null", "None"),
        ("[0.5]", r"\[0.5\]"),
        ("1" * 400, "1+\\.\\.\\.1+"),
    ],
)
def test_a_golden_ctr_that_is_none_is_refused_by_its_place(ctr: str, found: str) -> None:
    document = golden_answers()[0].to_json()
    document["ctr"][2] = "HERE"
    text = json.dumps(document).replace('"HERE"', ctr)
    with pytest.raises(
        SchemaMismatch, match=rf"golden.json: .* CTR from 0 to 1 for candidate 2 .*request 7, found {found}$"
    ):
        GoldenAnswer.from_json(json.loads(text), number=7)


@pytest.mark.parametrize("ctrs", [[], [0.5], [0.5, 0.5], [0.5] * 4])
def test_every_golden_candidate_has_one_ctr(ctrs: list[float]) -> None:
    document = golden_answers()[0].to_json() | {"ctr": ctrs}
    with pytest.raises(
        SchemaMismatch, match=rf"golden.json: expected 3 CTRs, one per candidate .*, found {len(ctrs)}$"
    ):
        GoldenAnswer.from_json(document)
