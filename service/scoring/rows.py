"""Item ids to catalogue rows, with the ids at hand that requests name again and again."""

from collections.abc import Sequence
from itertools import repeat

import numpy as np

from model.bundle.catalogue import UNKNOWN_ROW, Catalogue
from model.bundle.encoding import Indices

MAX_IDS = 65_536  # some 10 MB per worker
_NOT_HERE = -1  # no row of a catalogue
_MANY = 2_000  # ids from which on the catalogue's arrays are faster


class RowCache:
    """A dictionary before the catalogue, whose memory-mapped index is made for thousands of ids rather than hundreds.

    It holds known ids only, so that what callers make up takes no place, and starts anew when it is full. Safe to use
    from several threads at once.
    """

    def __init__(self, catalogue: Catalogue, *, max_ids: int = MAX_IDS) -> None:
        self._catalogue = catalogue
        self._max_ids = max_ids
        self._rows: dict[str, int] = {}

    def rows(self, item_ids: Sequence[str]) -> Indices:
        """What `Catalogue.rows` gives: [N]."""
        if len(item_ids) >= _MANY:
            return self._catalogue.rows(item_ids)
        rows_N = np.fromiter(map(self._rows.get, item_ids, repeat(_NOT_HERE)), dtype=np.int64, count=len(item_ids))
        missing = np.flatnonzero(rows_N == _NOT_HERE).tolist()
        if missing:
            asked = [item_ids[position] for position in missing]
            rows_N[missing] = found = self._catalogue.rows(asked)
            self._keep(dict(zip(asked, found.tolist(), strict=True)))
        return rows_N

    def _keep(self, found: dict[str, int]) -> None:
        known = {item_id: row for item_id, row in found.items() if row != UNKNOWN_ROW}
        if len(self._rows) + len(known) > self._max_ids:
            self._rows = {}  # another thread may still read the old one
        if len(known) <= self._max_ids:
            self._rows.update(known)
