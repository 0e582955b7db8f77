"""Item titles, for people: shown beside ids and searched; no network sees them."""

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

TEXT_FILE: Final = "titles/text.npy"
STARTS_FILE: Final = "titles/starts.npy"
FOLDED_FILE: Final = "titles/folded.npy"
FOLDED_STARTS_FILE: Final = "titles/folded_starts.npy"
TITLE_FILES: Final = (TEXT_FILE, STARTS_FILE, FOLDED_FILE, FOLDED_STARTS_FILE)

_END: Final = b"\n"  # of every title; none contains it
_BLOCK: Final = 1 << 20  # bytes that are checked together
_MOST_LOOKED_AT: Final = 10_000  # limit on a search's matches, so that "e" does not scan all titles

Octets = NDArray[np.uint8]


# Legend: N = items, in the catalogue's order.
@dataclass(frozen=True, slots=True)
class _Lines:
    """N texts in one array of UTF-8: text n is `text[starts[n]:starts[n + 1] - 1]`, before its line's end."""

    text: Octets
    starts: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.text.dtype != np.uint8 or self.text.ndim != 1:
            raise ValueError(f"text must be a vector of bytes, not {self.text.dtype} {self.text.shape}")
        starts = self.starts
        if starts.dtype != np.int64 or starts.ndim != 1 or not len(starts):
            raise ValueError(f"starts must be a vector of int64, not {starts.dtype} {starts.shape}")
        if starts[0] != 0 or starts[-1] != len(self.text) or not (np.diff(starts) >= len(_END)).all():
            raise ValueError("starts must rise from 0 to the end of the text")
        if not (self.text[starts[1:] - len(_END)] == ord(_END)).all():
            raise ValueError("each text must end with its line")
        _check_utf8(self.text)

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        lines = [text.encode() + _END for text in texts]
        starts = np.zeros(len(lines) + 1, dtype=np.int64)
        np.cumsum([len(line) for line in lines], out=starts[1:])
        return cls(np.frombuffer(b"".join(lines), dtype=np.uint8), starts)

    def __getitem__(self, position: int) -> str:
        start, end = self.starts[position], self.starts[position + 1] - len(_END)
        return self.text[start:end].tobytes().decode()

    def containing(self, part: str, *, at_most: int) -> NDArray[np.int64]:
        """Positions of the first texts that contain `part`, in order."""
        matches = re.finditer(re.escape(part.encode()), self.text.data)
        found = np.fromiter((match.start() for match, _ in zip(matches, range(at_most), strict=False)), dtype=np.int64)
        return np.unique(self.starts.searchsorted(found, side="right") - 1)


def _check_utf8(text: Octets) -> None:
    """Raise ValueError for bytes that are not UTF-8. Needs no memory for the whole text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for start in range(0, len(text), _BLOCK):
        decoder.decode(text[start : start + _BLOCK].tobytes())
    decoder.decode(b"", final=True)


class Titles:
    """The titles of a catalogue's items, in its order; an item without one has the empty title."""

    def __init__(self, shown: _Lines, folded: _Lines) -> None:
        """Raises: ValueError, if the numbers of titles differ."""
        if len(shown.starts) != len(folded.starts):
            raise ValueError(f"{len(folded.starts) - 1} folded titles for {len(shown.starts) - 1} titles")
        self._shown = shown
        self._folded = folded

    @classmethod
    def of(cls, titles: Sequence[str | None]) -> Self:
        """Line ends within a title become spaces."""
        texts = [" ".join((title or "").split()) for title in titles]
        return cls(_Lines.of(texts), _Lines.of([text.casefold() for text in texts]))

    @classmethod
    def from_arrays(cls, arrays: Sequence[NDArray[np.generic]]) -> Self:
        """Build from the arrays in TITLE_FILES, which may be memory-mapped. Raises: ValueError."""
        text, starts, folded, folded_starts = arrays
        return cls(_Lines(text, starts), _Lines(folded, folded_starts))  # type: ignore[arg-type]  # checked inside

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By file."""
        parts = (self._shown.text, self._shown.starts, self._folded.text, self._folded.starts)
        return dict(zip(TITLE_FILES, parts, strict=True))

    def __len__(self) -> int:
        return len(self._shown.starts) - 1

    def __getitem__(self, position: int) -> str:
        return self._shown[position]

    def search(self, text: str, *, limit: int) -> list[int]:
        """Return positions of items whose title contains `text`, ignoring case; titles beginning with it come
        first, then shorter ones."""
        wanted = " ".join(text.split()).casefold()
        if not wanted:
            return []
        found: list[int] = self._folded.containing(wanted, at_most=_MOST_LOOKED_AT).tolist()
        titles = {position: self._folded[position] for position in found}
        found.sort(key=lambda position: (not titles[position].startswith(wanted), len(titles[position]), position))
        return found[:limit]
