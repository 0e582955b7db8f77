"""Golden answers on their way through JSON."""

import json
from typing import Any

import pytest

from model.bundle.errors import SchemaMismatch
from model.bundle.golden import GoldenAnswer
from tests.fixtures.bundle import golden_answers


@pytest.mark.parametrize("number", range(3))
def test_a_golden_answer_survives_json(number: int) -> None:
    answer = golden_answers()[number]
    assert GoldenAnswer.from_json(json.loads(json.dumps(answer.to_json()))) == answer


@pytest.mark.parametrize("document", [{}, [], {"request": {}, "ctr": []}, {"request": None, "ctr": []}])
def test_what_is_no_golden_answer_is_refused(document: Any) -> None:
    with pytest.raises(SchemaMismatch, match=r"golden.json: expected requests and their CTRs"):
        GoldenAnswer.from_json(document)
