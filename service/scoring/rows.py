"""Item ids to catalogue rows, with the ids at hand that requests name again and again."""

from collections.abc import Sequence

import numpy as np

from model.bundle.catalogue import UNKNOWN_ROW, Catalogue
from model.bundle.encoding import Indices

MAX_IDS = 65_536  # some 10 MB per worker
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
        rows = list(map(self._rows.get, item_ids))
        if None in rows:
            missing = [position for position, row in enumerate(rows) if row is None]
            found = self._catalogue.rows([item_ids[position] for position in missing]).tolist()
            for position, row in zip(missing, found, strict=True):
                rows[position] = row
            self._keep({item_ids[position]: row for position, row in zip(missing, found, strict=True)})
        return np.array(rows, dtype=np.int64)

    def _keep(self, found: dict[str, int]) -> None:
        known = {item_id: row for item_id, row in found.items() if row != UNKNOWN_ROW}
        if len(self._rows) + len(known) > self._max_ids:
            self._rows = {}  # another thread may still read the old one
        if len(known) <= self._max_ids:
            self._rows.update(known)
