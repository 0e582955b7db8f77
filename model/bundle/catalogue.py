"""The items known to the trainer: raw id to row, row to the indices of all its item features."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.token_index import ABSENT, TokenIndex
from dinrank.model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID, RawScalar, positions, token

Indices = NDArray[np.int64]

PADDING_ROW = 0
UNKNOWN_ROW = 1
FIRST_ROW = 2  # the first row that holds a known item


# Legend: R = catalogue rows (padding and unknown included), M = slots of a multi-valued feature.
@dataclass(frozen=True, slots=True, init=False)
class Catalogue:
    """Item attributes by row: one look-up per candidate or behaviour.

    Row 0 is the padding item (all features padding), row 1 the unknown one (all features unknown); the item
    `item_ids[i]` has row i + 2. An item in the catalogue may have an id that the `item_id` feature does not know:
    too rare to learn a vector for, but with known attributes.

    Attributes:
        columns: per item feature the indices, int32, [R] or, multi-valued, [R, M].
    """

    item_ids: TokenIndex
    columns: Mapping[str, NDArray[np.int32]]

    def __init__(self, item_ids: Iterable[str], columns: Mapping[str, NDArray[np.int32]]) -> None:
        """Raises: ValueError, if an item is repeated or a column does not have one entry per row."""
        object.__setattr__(self, "item_ids", TokenIndex.of(item_ids))
        object.__setattr__(self, "columns", columns)
        for name, column in columns.items():
            if column.shape[:1] != (self.num_rows,):
                found = len(column) if column.ndim else "no"
                raise ValueError(f"{name} has {found} rows, the catalogue {self.num_rows}")

    @property
    def num_rows(self) -> int:
        return len(self.item_ids) + FIRST_ROW

    def __contains__(self, item_id: RawScalar) -> bool:
        return self.row(item_id) != UNKNOWN_ROW

    def row(self, item_id: RawScalar) -> int:
        """The item's row; UNKNOWN_ROW for an item unknown to the trainer."""
        text = token(item_id)
        position = ABSENT if text is None else self.item_ids.position(text)
        return UNKNOWN_ROW if position == ABSENT else position + FIRST_ROW

    def rows(self, item_ids: Sequence[RawScalar]) -> Indices:
        """The same for many items: [N]."""
        found = positions(self.item_ids, item_ids)
        return np.where(found == ABSENT, UNKNOWN_ROW, found + FIRST_ROW)

    def features(self, rows: Indices) -> dict[str, Indices]:
        """The indices of the items in `rows` [N]: per feature [N] or [N, M]. The arrays are the caller's own."""
        return {name: column.take(rows, axis=0).astype(np.int64) for name, column in self.columns.items()}


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
