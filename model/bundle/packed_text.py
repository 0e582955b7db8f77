"""Many texts in one array of 64-bit words: what is compared, hashed and memory-mapped instead of Python strings.

A text is its UTF-8, filled up to whole words with 0xFF. That byte never occurs in UTF-8, so two texts are equal exactly
when their words are, and no length needs to be kept. Words are little-endian on every machine: they lie in files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Self

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Indices = NDArray[np.int64]

WORD = np.dtype("<u8")
_WORD_BYTES = 8
_FILLER = b"\xff"
_SEPARATOR = "\0"  # between texts that are encoded together; ids hardly ever contain it
# By the number of bytes of a text that lie in a word: the bits that do not.
_FILLED = np.array([-1 << 8 * used & 0xFFFF_FFFF_FFFF_FFFF for used in range(_WORD_BYTES + 1)], dtype=np.uint64)
_CHUNK = 65_536  # texts that are packed together: Python holds no more of them at a time

# Constants of the SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014). Files depend on them.
_STEP, _FIRST_FACTOR, _SECOND_FACTOR = 0x9E37_79B9_7F4A_7C15, 0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB
_SHIFTS = (30, 27, 31)
_MODULUS = 1 << 64


# Legend: N = texts, W = words of all of them.
@dataclass(frozen=True, slots=True, eq=False)
class PackedTexts:
    """N texts; the words of text n are `words_W[starts[n]:starts[n + 1]]`, and the empty text has none.

    Attributes:
        starts: ascending from 0 to W, [N + 1].
    """

    words_W: Words
    starts: NDArray[np.integer]

    @classmethod
    def pack(cls, texts: Sequence[str]) -> Self:
        """Without Python work per text.

        Raises:
            TypeError: one of them is no text.
        """
        utf8 = _utf8(_SEPARATOR.join(texts))
        ends_N = np.append(np.flatnonzero(np.frombuffer(utf8, dtype=np.uint8) == ord(_SEPARATOR)), len(utf8))
        if len(ends_N) != len(texts):  # none at all, or some that contain the separator
            parts = [_utf8(text) for text in texts]
            utf8 = b"".join(part + _SEPARATOR.encode() for part in parts)
            ends_N = np.cumsum([len(part) + 1 for part in parts], dtype=np.int64) - 1
        lengths_N = np.diff(ends_N, prepend=-1) - 1
        starts = np.zeros(len(texts) + 1, dtype=np.int64)
        num_words_N = (lengths_N + _WORD_BYTES - 1) // _WORD_BYTES
        np.cumsum(num_words_N, out=starts[1:])
        text_W, within_W = _spread(num_words_N)
        first_W = within_W * _WORD_BYTES
        # Words begin at any byte of the text: a view with steps of one byte reads them.
        at_byte = np.ndarray((len(utf8) + 1,), dtype=WORD, buffer=utf8 + _WORD_BYTES * _FILLER, strides=(1,))
        words_W = at_byte[(ends_N - lengths_N)[text_W] + first_W]
        words_W |= _FILLED[np.minimum(lengths_N[text_W] - first_W, _WORD_BYTES)]
        return cls(words_W, starts)

    @property
    def num_texts(self) -> int:
        return len(self.starts) - 1

    def text(self, position: int) -> str:
        """One of the texts.

        Raises:
            UnicodeDecodeError: `pack` did not make these words.
        """
        return _unpack(self.packed(position))

    def packed(self, position: int) -> bytes:
        """One of the texts, in the words of `pack_one`."""
        return self.words_W[self.starts[position] : self.starts[position + 1]].tobytes()

    def texts(self) -> Iterator[str]:
        """All of them, in order."""
        for first in range(0, self.num_texts, _CHUNK):
            starts = self.starts[first : first + _CHUNK + 1].astype(np.int64)
            utf8 = self.words_W[starts[0] : starts[-1]].tobytes()
            places = (_WORD_BYTES * (starts - starts[0])).tolist()
            for start, end in zip(places, places[1:], strict=False):
                yield _unpack(utf8[start:end])

    def hashes(self) -> Words:
        """64 bits for each text, [N]: the sum of its words, each mixed with its place in the text."""
        _, within_W = _spread(np.diff(self.starts))
        mixed_W = self.words_W + (within_W + 1).astype(np.uint64) * np.uint64(_STEP)
        first, second, third = map(np.uint64, _SHIFTS)
        mixed_W ^= mixed_W >> first
        mixed_W *= np.uint64(_FIRST_FACTOR)
        mixed_W ^= mixed_W >> second
        mixed_W *= np.uint64(_SECOND_FACTOR)
        mixed_W ^= mixed_W >> third
        # Sums of the first words, modulo 2^64: their differences are the texts' own, and the empty text has 0.
        sums = np.zeros(len(mixed_W) + 1, dtype=np.uint64)
        np.cumsum(mixed_W, out=sums[1:])
        hashes_N: Words = sums[self.starts[1:]] - sums[self.starts[:-1]]
        return hashes_N

    def equal(self, own_P: Indices, other: "PackedTexts", others_P: Indices) -> NDArray[np.bool_]:
        """Whether text `own_P[p]` of these is text `others_P[p]` of `other`, for every pair p."""
        own_start_P, other_start_P = self.starts[own_P], other.starts[others_P]
        num_words_P = self.starts[own_P + 1] - own_start_P
        equal_P: NDArray[np.bool_] = num_words_P == other.starts[others_P + 1] - other_start_P
        pair_W, within_W = _spread(np.where(equal_P, num_words_P, 0))
        own_W, other_W = self.words_W[own_start_P[pair_W] + within_W], other.words_W[other_start_P[pair_W] + within_W]
        equal_P[pair_W[own_W != other_W]] = False
        return equal_P

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, PackedTexts)
            and np.array_equal(self.starts, other.starts)
            and np.array_equal(self.words_W, other.words_W)
        )

    __hash__ = None  # type: ignore[assignment]  # compared by content, which is too much to hash


def pack_one(text: str) -> bytes:
    """The words of one text as bytes: the same as `pack`, faster for one."""
    utf8 = _utf8(text)
    return utf8 + _FILLER * (-len(utf8) % _WORD_BYTES)


def _unpack(packed: bytes) -> str:
    return packed.rstrip(_FILLER).decode("utf-8", "surrogatepass")


def hash_one(packed: bytes) -> int:
    """The hash of one text in the words of `pack_one`: the same as `hashes`, faster for one."""
    total = salt = 0
    first, second, third = _SHIFTS
    for start in range(0, len(packed), _WORD_BYTES):
        salt += _STEP
        mixed = (int.from_bytes(packed[start : start + _WORD_BYTES], "little") + salt) % _MODULUS
        mixed = (mixed ^ mixed >> first) * _FIRST_FACTOR % _MODULUS
        mixed = (mixed ^ mixed >> second) * _SECOND_FACTOR % _MODULUS
        total += mixed ^ mixed >> third
    return total % _MODULUS


def pack_in_chunks(texts: Iterable[str]) -> PackedTexts:
    """Pack texts that need not all be in memory at once."""
    remaining = iter(texts)
    words: list[Words] = [np.empty(0, dtype=WORD)]
    starts: list[NDArray[np.integer]] = [np.zeros(1, dtype=np.int64)]
    num_words = 0
    while chunk := list(islice(remaining, _CHUNK)):
        packed = PackedTexts.pack(chunk)
        words.append(packed.words_W)
        starts.append(packed.starts[1:] + num_words)
        num_words += len(packed.words_W)
    # Half the memory, where the numbers allow it.
    start_type = np.uint32 if num_words < 2**32 else np.int64
    return PackedTexts(np.concatenate(words), np.concatenate(starts).astype(start_type))


def _utf8(text: str) -> bytes:
    """Half a surrogate pair is text that JSON can spell: it must be found, or not, like any other."""
    return str.encode(text, "utf-8", "surrogatepass")  # a TypeError for what is no text


def _spread(num_words_N: NDArray[np.integer]) -> tuple[Indices, Indices]:
    """For every word, which text it belongs to and how many words of that text come before it: [W] each."""
    texts_N = np.arange(len(num_words_N))
    if (num_words_N == 1).all():  # short ids: nothing to spread
        return texts_N, np.zeros_like(texts_N)
    text_W = np.repeat(texts_N, num_words_N)
    first_N = np.cumsum(num_words_N) - num_words_N
    return text_W, np.arange(len(text_W)) - first_N[text_W]
