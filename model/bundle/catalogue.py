"""The items that the trainer knew: raw id to row, row to the indices of all its item features."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID, RawScalar, token

Indices = NDArray[np.int64]

PADDING_ROW = 0
UNKNOWN_ROW = 1
FIRST_ROW = 2  # the first row that holds a known item


# Legend: R = catalogue rows (padding and unknown included), M = slots of a multi-valued feature.
@dataclass(frozen=True, slots=True)
class Catalogue:
    """Item attributes by row, so that a candidate or a behaviour costs one look-up.

    Row 0 is the padding item (all features padding), row 1 the unknown one (all features unknown); the item
    `item_ids[i]` has row i + 2. An item may be in the catalogue and its id still be unknown to the `item_id` feature:
    it was too rare to learn a vector for, but its attributes are known.

    Attributes:
        columns: per item feature the indices, int32, [R] or, multi-valued, [R, M].
    """

    item_ids: tuple[str, ...]
    columns: Mapping[str, NDArray[np.int32]]
    _rows: Mapping[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        rows = {item_id: row for row, item_id in enumerate(self.item_ids, start=FIRST_ROW)}
        if len(rows) != len(self.item_ids):
            raise ValueError("a catalogue holds each item once")
        for name, column in self.columns.items():
            if column.shape[0] != self.num_rows:
                raise ValueError(f"{name} has {column.shape[0]} rows, the catalogue {self.num_rows}")
        object.__setattr__(self, "_rows", rows)

    @property
    def num_rows(self) -> int:
        return len(self.item_ids) + FIRST_ROW

    def __contains__(self, item_id: RawScalar) -> bool:
        return token(item_id) in self._rows

    def row(self, item_id: RawScalar) -> int:
        """The item's row; UNKNOWN_ROW for an item that the trainer did not know."""
        text = token(item_id)
        return UNKNOWN_ROW if text is None else self._rows.get(text, UNKNOWN_ROW)

    def rows(self, item_ids: Iterable[RawScalar]) -> Indices:
        return np.fromiter((self.row(item_id) for item_id in item_ids), dtype=np.int64)

    def features(self, rows: Indices) -> dict[str, Indices]:
        """The indices of the items in `rows` [N]: per feature [N] or [N, M]. The arrays are the caller's own."""
        return {name: column[rows].astype(np.int64) for name, column in self.columns.items()}


def column_with_sentinels(known: NDArray[np.int64]) -> NDArray[np.int32]:
    """Put the padding and the unknown item before the known items' indices, [R - 2] or [R - 2, M]."""
    padding = np.full((1, *known.shape[1:]), PADDING_ID)
    unknown = np.full((1, *known.shape[1:]), PADDING_ID)
    unknown[0, ...] = UNKNOWN_ID if known.ndim == 1 else unknown_slots(known.shape[1])
    return np.concatenate([padding, unknown, known]).astype(np.int32)


def unknown_slots(max_values: int) -> Indices:
    """A multi-valued feature without any value: one unknown, the other slots padding."""
    slots = np.full(max_values, PADDING_ID, dtype=np.int64)
    slots[0] = UNKNOWN_ID
    return slots
