"""The activation table: raw activation weights of many pairs of items, computed once per bundle."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

WEIGHTS_FILE: Final = "activations/weights.npy"
LINES_FILE: Final = "activations/lines.npy"
COLUMNS_FILE: Final = "activations/columns.npy"
COVERAGE_FILE: Final = "activations/coverage.json"
TABLE_FILES: Final = (WEIGHTS_FILE, LINES_FILE, COLUMNS_FILE, COVERAGE_FILE)

ABSENT: Final = -1

# From this many behaviours on, gathering line by line is faster than all at once; measured.
_LONG = 1024

Indices = NDArray[np.int64]
Places = NDArray[np.int32]


# Legend: A = ads of the table, B = its behaviours' items, R = catalogue rows, C = candidates, T = behaviours.
@dataclass(frozen=True, slots=True)
class ActivationTable:
    """weights_AB[line, column] is the raw weight of a behaviour with the item of `column` for the ad of `line`.

    Exact, because the weight is a function of these two items alone: not of the user, the position or the other
    behaviours.

    Attributes:
        weights_AB: float32, finite, C-contiguous; memory-mapped, so that all workers share it.
        line_R: int32, the line of each catalogue row, ABSENT for those that the table lacks.
        column_R: the same for its columns.
    """

    weights_AB: NDArray[np.float32]
    line_R: Places
    column_R: Places

    def __post_init__(self) -> None:
        if self.weights_AB.ndim != 2 or self.weights_AB.dtype != np.float32 or not self.weights_AB.flags.c_contiguous:
            raise ValueError(f"weights must be a float32 matrix, not {self.weights_AB.dtype} {self.weights_AB.shape}")
        for extreme in (self.weights_AB.min(initial=0.0), self.weights_AB.max(initial=0.0)):  # NaN if one of them is
            if not np.isfinite(extreme):
                raise ValueError(f"weights must be finite, and one of them is {extreme}")
        for name, places_R, size in (("lines", self.line_R, 0), ("columns", self.column_R, 1)):
            found = places_R[places_R != ABSENT]
            if not np.array_equal(np.sort(found), np.arange(self.weights_AB.shape[size])):
                raise ValueError(f"{name} must name each of the table's {self.weights_AB.shape[size]} once")

    def lines(self, row_C: Indices) -> Places:
        """The line of each candidate, ABSENT for one that the table lacks and for OVERRIDDEN_ROW."""
        return _places(self.line_R, row_C)

    def columns(self, row_T: Indices) -> Places:
        return _places(self.column_R, row_T)

    def gather(self, line_C: Places, column_T: Places) -> NDArray[np.float32]:
        """[C, T]; no place may be ABSENT."""
        if len(column_T) < _LONG:
            position_CT = line_C[:, None].astype(np.int64) * self.weights_AB.shape[1] + column_T
            weights_CT: NDArray[np.float32] = self.weights_AB.ravel().take(position_CT, mode="clip")
            return weights_CT
        weights_CT = np.empty((len(line_C), len(column_T)), dtype=np.float32)
        for candidate, line in enumerate(line_C.tolist()):
            self.weights_AB[line].take(column_T, out=weights_CT[candidate], mode="clip")  # "clip" needs no buffer
        return weights_CT


def _places(place_R: Places, row_N: Indices) -> Places:
    return np.where(row_N >= 0, place_R.take(row_N, mode="clip"), ABSENT).astype(np.int32)
