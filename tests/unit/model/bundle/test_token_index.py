"""Tokens and their positions: the arrays agree with a plain dict, whatever text there is."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle import token_index
from dinrank.model.bundle.token_index import ABSENT, ARRAYS, BrokenIndex, TokenIndex

# Every code point, halves of surrogate pairs included, and often what is hard: NUL and all numbers of bytes.
TEXT = st.text(st.sampled_from("\0a\x7f\x80ä\uffff\ud800\udc00😀") | st.characters(categories=None), max_size=12)
LONG = st.tuples(TEXT, st.sampled_from([2, 3, 50])).map(lambda both: both[0] * both[1])
TOKENS = st.lists(TEXT | LONG | st.integers(0, 10**12).map(str), unique=True, max_size=20)
AWKWARD = ["", "\0", "\0\0", "a\0", "a", "12345678", "123456789", "\ud800", "\udc00", "\ud800\udc00", "😀", "ä" * 5_000]


@st.composite
def tokens_and_query(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """A query with known tokens, some of them several times, and others."""
    tokens = draw(TOKENS)
    known = st.sampled_from(tokens) if tokens else st.nothing()
    return tokens, draw(st.lists(known | TEXT, max_size=20))


def by_dict(tokens: Sequence[str], query: Sequence[str]) -> list[int]:
    position = {token: number for number, token in enumerate(tokens)}
    return [position.get(token, ABSENT) for token in query]


@given(tokens_and_query())
def test_looking_up_many_agrees_with_a_dict(both: tuple[list[str], list[str]]) -> None:
    tokens, query = both
    for several in (query, query * 3, []):  # few and many take different ways
        found = TokenIndex.of(tokens).positions(several)
        assert found.tolist() == by_dict(tokens, several)
        assert found.dtype == np.int64


@given(tokens_and_query())
def test_looking_up_one_agrees_with_a_dict(both: tuple[list[str], list[str]]) -> None:
    tokens, query = both
    index = TokenIndex.of(tokens)
    assert [index.position(token) for token in query] == by_dict(tokens, query)
    assert [token in index for token in query] == [token in tokens for token in query]


@given(TOKENS)
def test_an_index_holds_its_tokens_in_order(tokens: list[str]) -> None:
    index = TokenIndex.of(iter(tokens))
    assert list(index) == tokens
    assert [index[position] for position in range(len(index))] == tokens
    assert [index[position] for position in range(-len(index), 0)] == tokens
    with pytest.raises(IndexError):
        index[len(tokens)]


@given(tokens_and_query(), st.integers(0, 5))
def test_colliding_hashes_never_give_a_wrong_position(both: tuple[list[str], list[str]], num_hashes: int) -> None:
    """With hashes of so few values nearly every token shares its bucket and its fingerprint with others."""
    tokens, query = both
    true_hashes, true_hash_one = token_index.PackedTexts.hashes, token_index.hash_one
    modulus = num_hashes + 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(token_index.PackedTexts, "hashes", lambda texts: true_hashes(texts) % np.uint64(modulus))
        patched.setattr(token_index, "hash_one", lambda packed: true_hash_one(packed) % modulus)
        index = TokenIndex.of(tokens)
        assert index.positions(query * 3).tolist() == by_dict(tokens, query * 3)
        assert [index.position(token) for token in query] == by_dict(tokens, query)
        if tokens:
            with pytest.raises(ValueError, match="comes twice"):
                TokenIndex.of([*tokens, tokens[0]])


def test_awkward_tokens_are_told_apart() -> None:
    index = TokenIndex.of(AWKWARD)
    assert index.positions(AWKWARD * 3).tolist() == list(range(len(AWKWARD))) * 3
    assert index.positions(["\0" * 3, "ä" * 4_999, "1234567", "b"] * 5).tolist() == [ABSENT] * 20


def test_more_tokens_than_are_packed_together_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dinrank.model.bundle.packed_text._CHUNK", 7)
    tokens = [*AWKWARD, *(str(number) for number in range(100))]
    index = TokenIndex.of(iter(tokens))
    assert list(index) == tokens
    assert index.positions(tokens).tolist() == list(range(len(tokens)))


@given(TOKENS.filter(len), st.data())
def test_a_token_that_comes_twice_is_refused(tokens: list[str], data: st.DataObject) -> None:
    again = data.draw(st.sampled_from(tokens))
    with pytest.raises(ValueError, match="comes twice"):
        TokenIndex.of([*tokens, again])


@pytest.mark.parametrize("repeat", [1, 20])
def test_what_is_no_text_is_refused(repeat: int) -> None:
    for value in (None, 1, 1.0, b"a", ["a"]):
        with pytest.raises(TypeError):
            TokenIndex.of(["a"]).positions(["a", value] * repeat)  # type: ignore[list-item]  # that is the test


def test_indices_are_equal_when_their_tokens_are_in_the_same_order() -> None:
    index = TokenIndex.of(["a", "b"])
    assert index == TokenIndex.of(iter(["a", "b"])) == TokenIndex.of(index)
    assert index != TokenIndex.of(["b", "a"])
    assert index != TokenIndex.of(["a"])


@given(tokens_and_query())
def test_an_index_is_its_arrays(both: tuple[list[str], list[str]]) -> None:
    tokens, query = both
    index = TokenIndex.from_arrays(TokenIndex.of(tokens).arrays())
    assert list(index) == tokens
    assert index.positions(query * 3).tolist() == by_dict(tokens, query * 3)


def test_equal_tokens_give_equal_arrays() -> None:
    first, again = (TokenIndex.of(map(str, range(1_000))).arrays() for _ in range(2))
    assert all(np.array_equal(first[name], again[name]) for name in ARRAYS)


def test_the_files_of_an_index_are_what_other_machines_read() -> None:
    """Worked out by hand: UTF-8 from the lowest byte of a word up, 0xFF in the rest, and SplitMix64 of each word."""
    index = TokenIndex.of(["a", "", "bcdefghi"])
    assert index.arrays()["words"].tolist() == [0xFFFF_FFFF_FFFF_FF61, 0x6968_6766_6564_6362]
    assert index.arrays()["starts"].tolist() == [0, 1, 1, 2]

    def split_mix(word: int) -> int:
        modulus = 1 << 64
        mixed = (word + 0x9E3779B97F4A7C15) % modulus
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 % modulus
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % modulus
        return mixed ^ mixed >> 31

    hashes = [split_mix(0xFFFF_FFFF_FFFF_FF61), 0, split_mix(0x6968_6766_6564_6362)]
    in_order = sorted(range(3), key=lambda position: hashes[position])
    assert index.arrays()["positions"].tolist() == in_order
    assert index.arrays()["fingerprints"].tolist() == [hashes[position] % 256 for position in in_order]
    buckets = [hash_ >> 62 for hash_ in hashes]
    assert index.arrays()["buckets"].tolist() == [sum(bucket < edge for bucket in buckets) for edge in range(5)]


@pytest.mark.parametrize(
    ("name", "broken", "message"),
    [
        ("words", np.zeros(3, dtype=np.int64), "words: expected uint64 in one dimension, found int64"),
        ("words", np.zeros((3, 1), dtype=np.uint64), r"words: expected .*found uint64 \(3, 1\)"),
        ("words", np.zeros(2, dtype=np.uint64), "starts: expected numbers from 0 to 2, found 0 to 3"),
        ("starts", np.array([0.0, 1, 2, 3]), "starts: expected uint32 or int64"),
        ("starts", np.array([0, 2, 1, 3], dtype=np.uint32), "starts: expected ascending numbers"),
        ("starts", np.array([1, 1, 2, 3], dtype=np.uint32), "starts: expected numbers from 0 to 3, found 1 to 3"),
        ("starts", np.array([0, -5, 2, 3]), "starts: expected ascending numbers"),
        ("starts", np.array([], dtype=np.uint32), "starts: expected numbers from 0 to 3, found nothing"),
        ("starts", np.array([0, 1, 3], dtype=np.uint32), "positions: expected 2, one per token, found 3"),
        ("buckets", np.array([0, 1, 2, 3], dtype=np.uint32), "buckets: expected a power of two of them"),
        ("buckets", np.array([0, 3], dtype=np.uint32), "buckets: expected a power of two of them, at least 2, found 1"),
        ("buckets", np.array([0, 3, 2, 3, 3], dtype=np.uint32), "buckets: expected ascending numbers"),
        ("buckets", np.array([0, 1, 2, 4, 4], dtype=np.uint32), "buckets: expected numbers from 0 to 3"),
        ("positions", np.array([0, 1, 3], dtype=np.uint32), "positions: expected none beyond 2, found 3"),
        ("positions", np.array([0, 1], dtype=np.uint32), "buckets: expected numbers from 0 to 2"),
        ("positions", np.array(0, dtype=np.uint32), r"positions: expected uint32 in one dimension, found uint32 \(\)"),
        ("fingerprints", np.zeros(2, dtype=np.uint8), "fingerprints: expected 3, one per token, found 2"),
    ],
)
def test_arrays_that_contradict_themselves_or_each_other_are_refused(
    name: str, broken: np.ndarray, message: str
) -> None:
    arrays = TokenIndex.of(["a", "b", "c"]).arrays()
    with pytest.raises(BrokenIndex, match=message):
        TokenIndex.from_arrays(arrays | {name: broken})


@given(st.data())
def test_arrays_that_are_not_refused_are_never_left(data: st.DataObject) -> None:
    """Any numbers in them: a look-up finds nothing or something, and does not fail."""
    arrays = {name: array.copy() for name, array in TokenIndex.of(map(str, range(40))).arrays().items()}
    for array in arrays.values():
        places = data.draw(st.lists(st.integers(0, len(array) - 1), max_size=5))
        array[places] = data.draw(st.integers(0, 60))
    try:
        index = TokenIndex.from_arrays(arrays)
    except BrokenIndex:
        return
    query = [str(number) for number in range(60)]
    assert len(index.positions(query)) == len([index.position(token) for token in query]) == 60
