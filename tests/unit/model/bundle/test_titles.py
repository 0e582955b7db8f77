"""Titles are kept as they are, and found whatever the case."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle.titles import STARTS_FILE, TEXT_FILE, TITLE_FILES, Titles

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
# Few letters, so that searches find something; some grow or shrink when their case is folded.
few = st.text(st.sampled_from("aAbB ßẞİ\n"), max_size=5)


def one_line(title: str) -> str:
    return " ".join(title.split())


@given(st.lists(texts | st.none(), min_size=1, max_size=8))
def test_a_title_stays_what_it_was(titles: list[str | None]) -> None:
    kept = Titles.of(titles)
    assert [kept[position] for position in range(len(kept))] == [one_line(title or "") for title in titles]


@given(st.lists(few, min_size=1, max_size=10), few.filter(str.strip), st.integers(1, 12))
def test_a_search_finds_what_a_look_at_every_title_finds(titles: list[str], wanted: str, limit: int) -> None:
    folded = [one_line(title).casefold() for title in titles]
    part = one_line(wanted).casefold()
    expected = sorted(
        (position for position, title in enumerate(folded) if part in title),
        key=lambda position: (not folded[position].startswith(part), len(folded[position]), position),
    )
    assert Titles.of(titles).search(wanted, limit=limit) == expected[:limit]


def test_case_and_alphabet_do_not_matter() -> None:
    titles = Titles.of(["Straße nach Süden", "ΟΔΥΣΣΕΙΑ", "Swimming cap"])
    assert titles.search("STRASSE", limit=5) == [0]
    assert titles.search("οδυσσεια", limit=5) == [1]
    assert titles.search("cap", limit=5) == [2]
    assert titles.search(".*", limit=5) == []
    assert titles.search("  ", limit=5) == []


def test_a_match_never_spans_two_titles() -> None:
    assert Titles.of(["one", "two"]).search("e\nt", limit=5) == []
    assert Titles.of(["one", "two"]).search("onetwo", limit=5) == []


def test_arrays_make_the_same_titles_again() -> None:
    arrays = Titles.of(["a", "", "c"]).arrays()
    assert list(arrays) == list(TITLE_FILES)
    again = Titles.from_arrays([arrays[file] for file in TITLE_FILES])
    assert [again[position] for position in range(len(again))] == ["a", "", "c"]


@pytest.mark.parametrize(
    ("file", "broken"),
    [
        (TEXT_FILE, np.zeros(3, dtype=np.int64)),
        (TEXT_FILE, np.zeros(9, dtype=np.uint8)),
        (STARTS_FILE, np.array([0, 5, 2], dtype=np.int64)),
        (STARTS_FILE, np.array([0.0, 2.0])),
        (STARTS_FILE, np.array([], dtype=np.int64)),
        (STARTS_FILE, np.array([0, 4], dtype=np.int64)),
    ],
)
def test_arrays_that_contradict_each_other_are_refused(file: str, broken: np.ndarray) -> None:
    arrays = Titles.of(["a", "b"]).arrays() | {file: broken}
    with pytest.raises(ValueError, match="must|titles"):
        Titles.from_arrays([arrays[each] for each in TITLE_FILES])
