"""Raw value to index."""

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle import vocabulary as vocabulary_module
from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.vocabulary import FIRST_ID, PADDING_ID, UNKNOWN_ID, Buckets, RawScalar, Vocabulary, token

BEYOND_FLOATS = 10**400


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("21", "21"),
        (21, "21"),
        (21.0, "21"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e300, str(int(1e300))),
        (True, "true"),
        (False, "false"),
        ("", ""),
        (math.inf, "inf"),
        (math.nan, None),
        (None, None),
    ],
)
def test_one_thing_has_one_token_whatever_type_it_comes_in(value: RawScalar, text: str | None) -> None:
    assert token(value) == text


@given(st.integers(min_value=-(2**53), max_value=2**53))
def test_whole_numbers_have_the_token_of_their_decimal_text(number: int) -> None:
    assert token(number) == token(float(number)) == token(str(number))


def test_padding_and_unknown_come_before_every_known_token() -> None:
    vocabulary = Vocabulary(("a", "b"))
    assert [vocabulary.index("a"), vocabulary.index("b")] == [FIRST_ID, FIRST_ID + 1]
    assert vocabulary.num_indices == 4
    assert {PADDING_ID, UNKNOWN_ID} == {0, 1}


@given(
    tokens=st.lists(st.text(st.characters(categories=None), max_size=4), unique=True, max_size=8),
    others=st.lists(st.text(max_size=4) | st.none() | st.integers() | st.booleans(), max_size=4),
    is_held=st.booleans(),
)
def test_few_tokens_and_many_are_found_alike(tokens: list[str], others: list[RawScalar], is_held: bool) -> None:
    """In a dictionary, or in the index alone; one by one, one at a time, and all together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary_module, "_FEW", 1_000 if is_held else -1)
        vocabulary = Vocabulary(tokens)
    indices = {text: number + FIRST_ID for number, text in enumerate(tokens)}
    values = [*tokens, *others]
    expected = [UNKNOWN_ID if token(value) is None else indices.get(str(token(value)), UNKNOWN_ID) for value in values]
    assert [vocabulary.index(value) for value in values] == expected
    assert [vocabulary.indices([value]).tolist() for value in values] == [[each] for each in expected]
    assert vocabulary.indices(values).tolist() == expected


@pytest.mark.parametrize("value", ["c", None, math.nan, 7])
def test_what_a_vocabulary_lacks_is_unknown_and_never_padding(value: RawScalar) -> None:
    assert Vocabulary(("a", "b")).index(value) == UNKNOWN_ID


def test_a_token_cannot_stand_in_a_vocabulary_twice() -> None:
    with pytest.raises(ValueError, match="once"):
        Vocabulary(("a", "a"))


@pytest.mark.parametrize(
    ("value", "bucket"),
    [
        (-math.inf, 0),
        (9.999, 0),
        (10, 1),
        ("10.0", 1),
        (19, 1),
        (20.0, 2),
        (math.inf, 2),
        ("inf", 2),
        (True, 0),
        (BEYOND_FLOATS, 2),
        (-BEYOND_FLOATS, 0),
    ],
)
def test_a_number_falls_in_the_bucket_after_the_last_boundary_it_reaches(value: RawScalar, bucket: int) -> None:
    assert Buckets((10.0, 20.0)).index(value) == FIRST_ID + bucket


@pytest.mark.parametrize("value", [None, math.nan, "nan", "cheap", ""])
def test_what_is_no_number_is_unknown(value: RawScalar) -> None:
    assert Buckets((10.0, 20.0)).index(value) == UNKNOWN_ID


@given(st.lists(st.floats(-1e6, 1e6), unique=True).map(sorted), st.floats(allow_nan=False))
def test_buckets_agree_with_counting_boundaries(boundaries: list[float], number: float) -> None:
    buckets = Buckets(tuple(boundaries))
    index = buckets.index(number)
    assert index == FIRST_ID + sum(boundary <= number for boundary in boundaries)
    assert index < buckets.num_indices


@pytest.mark.parametrize("boundaries", [(2.0, 1.0), (1.0, 1.0), (math.nan,), (0.0, math.inf)])
def test_boundaries_must_be_finite_and_ascending(boundaries: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Buckets(boundaries)


@pytest.mark.parametrize("buckets", [Buckets(()), Buckets((0.1, 2.5))])
def test_buckets_survive_json(buckets: Buckets) -> None:
    assert Buckets.from_json(json.loads(json.dumps(buckets.to_json())), file="vocabulary/x.json") == buckets


@pytest.mark.parametrize("document", [{}, [], None, {"boundaries": None}, {"boundaries": ["x"]}])
def test_what_are_no_buckets_is_refused_with_its_file(document: Any) -> None:
    with pytest.raises(SchemaMismatch, match=r"vocabulary/x.json: expected a list of boundaries"):
        Buckets.from_json(document, file="vocabulary/x.json")


def test_indices_of_nothing_are_an_empty_int64_array() -> None:
    for vocabulary in (Vocabulary(("a",)), Buckets((1.0,))):
        assert vocabulary.indices([]).shape == (0,)
        assert vocabulary.indices([]).dtype == np.int64
