"""Reading a body by one pass gives what `RankRequest` gives, or nothing."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import from_json

from dinrank.service.api import rank_bodies as bodies_module
from dinrank.service.api.rank_bodies import CandidateBody, RankRequest, read_task
from dinrank.service.api.repeated_keys import has_keys, num_different_keys, repeated_key
from dinrank.service.scoring.ranking import RankingTask
from tests.fixtures.rank_bodies import bodies, documents

GOOD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}


def in_two_passes(body: bytes) -> RankingTask | None:
    """JSON first, then the schema, as FastAPI does."""
    try:
        return RankRequest.model_validate(from_json(body, allow_inf_nan=True)).to_task("r1")
    except (ValueError, ValidationError):
        return None


@given(bodies)
def test_one_pass_takes_what_two_take_and_makes_the_same_of_it(body: bytes) -> None:
    task = read_task(body, "r1")
    assert repr(task) == repr(in_two_passes(body))  # types too: 1 is not 1.0, nor True


def with_one_repeated(document: Any, number: int) -> str:
    """Its JSON, in which one object, the first from `number` on that has members, has its first member twice."""

    def text(value: Any) -> str:
        nonlocal number
        if isinstance(value, list):
            return f"[{', '.join(map(text, value))}]"
        if not isinstance(value, dict):
            return json.dumps(value)
        members = [f"{json.dumps(name)} : {text(each)}" for name, each in value.items()]
        if members:
            number -= 1
            members += members[:1] * (number == 0)
        return f"{{{', '.join(members)}}}"

    return text(document)


@given(documents, st.integers(1, 6))
def test_a_key_that_is_there_twice_is_found_wherever_it_is(document: dict[str, Any], number: int) -> None:
    body, plain = with_one_repeated(document, number).encode(), with_one_repeated(document, -1).encode()
    is_repeated = body != plain
    for each, expected in ((body, is_repeated), (plain, False)):
        try:
            parsed = from_json(each, allow_inf_nan=True)
        except ValueError:
            return
        assert (repeated_key(each) is not None) is expected
        assert has_keys(each, num_different_keys(parsed)) is not expected
    assert repr(read_task(plain, "r1")) == repr(in_two_passes(plain))
    if is_repeated:
        assert read_task(body, "r1") is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"top_k": 3, "explain": True},
        {"reserve_price": 0.5, "second_prices": True},
        {"reserve_price": 1, "model": "3f9c2a17b04d5e68"},
        {"top_k": None, "context": {"hour": 21, "tags": ["a", 1, True]}},
        {"candidates": [{"ad_id": "1", "bid": 0}, {"ad_id": "1", "bid": 2, "features": {"price": 10**25}}]},
        {"candidates": [{"ad_id": "1", "bid": 10**30, "features": {}}]},
    ],
)
def test_a_flawless_body_needs_one_pass(fields: dict[str, Any]) -> None:
    body = json.dumps(GOOD | fields).encode()
    assert read_task(body, "r1") is not None
    assert repr(read_task(body, "r1")) == repr(in_two_passes(body))


def test_both_ways_know_the_same_fields() -> None:
    assert set(bodies_module._SentRequest.__struct_fields__) == set(RankRequest.model_fields)
    assert set(bodies_module._SentCandidate.__struct_fields__) == set(CandidateBody.model_fields)


@given(st.binary(max_size=3), st.integers(0, 60))
def test_a_body_with_other_bytes_inside_is_never_taken_otherwise(intruder: bytes, place: int) -> None:
    text = json.dumps(GOOD).encode()
    body = text[:place] + intruder + text[place:]
    task = read_task(body, "r1")
    assert task is None or repr(task) == repr(in_two_passes(body))


@given(st.binary(max_size=20))
def test_bytes_that_are_no_request_are_nothing(body: bytes) -> None:
    assert read_task(body, "r1") is None
