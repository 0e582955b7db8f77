"""Rows by way of the cache are the catalogue's rows, whatever was asked before."""

from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.vocabulary import RawScalar
from dinrank.service.scoring.assembly import RowCache
from tests.fixtures.bundle import ITEMS

KNOWN = [*ITEMS]


class CountingCatalogue:
    """The rows of a catalogue, and how many ids it was asked for."""

    def __init__(self) -> None:
        self.catalogue = Catalogue(KNOWN, {})
        self.num_asked = 0

    def rows(self, item_ids: Sequence[RawScalar]) -> np.ndarray:
        self.num_asked += len(item_ids)
        return self.catalogue.rows(item_ids)


@given(st.lists(st.lists(st.sampled_from([*KNOWN, "new", "newer", ""]), max_size=9), max_size=6), st.integers(0, 7))
def test_the_cache_changes_no_row(requests: list[list[str]], max_ids: int) -> None:
    catalogue = Catalogue(KNOWN, {})
    cache = RowCache(catalogue, max_ids=max_ids)
    for item_ids in requests:
        rows = cache.rows(item_ids)
        assert rows.dtype == np.int64
        assert rows.tolist() == catalogue.rows(item_ids).tolist()
        assert len(cache._rows) <= max_ids


def test_a_known_id_is_looked_up_once_and_an_unknown_one_each_time() -> None:
    counting = CountingCatalogue()
    cache = RowCache(counting)  # type: ignore[arg-type]
    for _ in range(3):
        cache.rows(["1", "2", "new"])
    assert counting.num_asked == 3 + 1 + 1


def test_long_lists_are_left_to_the_catalogue() -> None:
    counting = CountingCatalogue()
    cache = RowCache(counting)  # type: ignore[arg-type]
    item_ids = [*KNOWN, "new"] * 1_000
    assert cache.rows(item_ids).tolist() == counting.catalogue.rows(item_ids).tolist()
    assert counting.num_asked == len(item_ids)
