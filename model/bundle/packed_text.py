"""Many texts in one array of 64-bit words, compared, hashed and memory-mapped instead of Python strings.

A text is its UTF-8, padded to whole words with 0xFF. That byte never occurs in UTF-8, so two texts are equal exactly
when their words are, and no length needs to be kept. Words are little-endian on every machine, as files
hold them.
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
_TAIL = _SEPARATOR.encode() + (_WORD_BYTES - 1) * _FILLER  # closes the last text, and lets a word begin at any byte
# By the number of text bytes in a word: the mask of the padding bits.
_FILLED = np.array([-1 << 8 * used & 0xFFFF_FFFF_FFFF_FFFF for used in range(_WORD_BYTES + 1)], dtype=np.uint64)
_SHORT_BYTES = 64  # up to this length Python hashes a text faster than arrays do
_CHUNK = 65_536  # texts packed at a time: a bound on the Python strings in memory

# Constants of the SplitMix64 generator (Steele, Lea and Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014). Files depend on them.
_STEP = 0x9E37_79B9_7F4A_7C15
_FACTORS = (0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB)
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
        """Pack texts without Python work per text.

        Raises:
            TypeError: one of them is no text.
        """
        num_texts = len(texts)
        utf8 = _utf8(_SEPARATOR.join(texts)) + _TAIL
        octets = np.frombuffer(utf8, dtype=np.uint8)
        ends_N = (octets == ord(_SEPARATOR)).nonzero()[0]
        if len(ends_N) != num_texts:  # no texts at all, or some that contain the separator
            utf8, ends_N = _joined_one_by_one(texts)
        first_byte_N = np.zeros(num_texts, dtype=np.int64)
        np.add(ends_N[:-1], 1, out=first_byte_N[1:])
        num_words_N = (ends_N - first_byte_N + (_WORD_BYTES - 1)) // _WORD_BYTES
        starts = np.zeros(num_texts + 1, dtype=np.int64)
        num_words_N.cumsum(out=starts[1:])
        # Words begin at any byte of the text: a view with steps of one byte reads them.
        at_byte = np.ndarray((len(utf8) - len(_TAIL) + 1,), dtype=WORD, buffer=utf8, strides=(1,))
        if _are_single(num_words_N):
            return cls(at_byte[first_byte_N] | _FILLED[ends_N - first_byte_N], starts)
        text_W, within_W = _spread(num_words_N)
        first_byte_W = first_byte_N[text_W] + within_W * _WORD_BYTES
        left_W = np.minimum(ends_N[text_W] - first_byte_W, _WORD_BYTES)
        return cls(at_byte[first_byte_W] | _FILLED[left_W], starts)

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
        num_words_N = self.starts[1:] - self.starts[:-1]
        if are_single := _are_single(num_words_N):
            mixed_W = self.words_W + np.uint64(_STEP)
        else:
            mixed_W = self.words_W + (_spread(num_words_N)[1] + 1).astype(np.uint64) * np.uint64(_STEP)
        mixed_W ^= mixed_W >> np.uint64(_SHIFTS[0])
        mixed_W *= np.uint64(_FACTORS[0])
        mixed_W ^= mixed_W >> np.uint64(_SHIFTS[1])
        mixed_W *= np.uint64(_FACTORS[1])
        mixed_W ^= mixed_W >> np.uint64(_SHIFTS[2])
        if are_single:
            return mixed_W
        # Sums of the first words, modulo 2^64: their differences are the texts' own, and the empty text has 0.
        sums = np.zeros(len(mixed_W) + 1, dtype=np.uint64)
        mixed_W.cumsum(out=sums[1:])
        hashes_N: Words = sums[self.starts[1:]] - sums[self.starts[:-1]]
        return hashes_N

    def equal(self, own_P: Indices, other: "PackedTexts", others_P: Indices) -> NDArray[np.bool_]:
        """Return for every pair p whether text `own_P[p]` of these equals text `others_P[p]` of `other`."""
        own_first_P, other_first_P = self.starts[own_P], other.starts[others_P]
        num_words_P = self.starts[own_P + 1] - own_first_P
        equal_P: NDArray[np.bool_] = num_words_P == other.starts[others_P + 1] - other_first_P
        if _are_single(num_words_P) and equal_P.all():
            same_P: NDArray[np.bool_] = self.words_W[own_first_P] == other.words_W[other_first_P]
            return same_P
        pair_W, within_W = _spread(np.where(equal_P, num_words_P, 0))
        own_W, other_W = self.words_W[own_first_P[pair_W] + within_W], other.words_W[other_first_P[pair_W] + within_W]
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
    """The hash of one text in the words of `pack_one`: the same as `hashes`, faster for one of a few words."""
    if len(packed) > _SHORT_BYTES:
        words = np.frombuffer(packed, dtype=WORD)
        return int(PackedTexts(words, np.array([0, len(words)])).hashes()[0])
    total = salt = 0
    for start in range(0, len(packed), _WORD_BYTES):
        salt += _STEP
        mixed = (int.from_bytes(packed[start : start + _WORD_BYTES], "little") + salt) % _MODULUS
        mixed = (mixed ^ mixed >> _SHIFTS[0]) * _FACTORS[0] % _MODULUS
        mixed = (mixed ^ mixed >> _SHIFTS[1]) * _FACTORS[1] % _MODULUS
        total += mixed ^ mixed >> _SHIFTS[2]
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
    """Encode text; JSON can spell half a surrogate pair, which must be looked up like any other text."""
    return str.encode(text, "utf-8", "surrogatepass")  # a TypeError for what is no text


def _joined_one_by_one(texts: Sequence[str]) -> tuple[bytes, Indices]:
    parts = [_utf8(text) for text in texts]
    ends = np.array([len(part) + 1 for part in parts], dtype=np.int64).cumsum() - 1
    return b"".join(part + _SEPARATOR.encode() for part in parts) + _TAIL, ends


def _are_single(num_words_N: NDArray[np.integer]) -> bool:
    """Return whether each text is one word, as short ids are: most steps are then skipped."""
    return bool((num_words_N == 1).all())


def _spread(num_words_N: NDArray[np.integer]) -> tuple[Indices, Indices]:
    """Return each word's text and its place within that text: [W] each."""
    text_W = np.repeat(np.arange(len(num_words_N)), num_words_N)
    first_N = num_words_N.cumsum() - num_words_N
    return text_W, np.arange(len(text_W)) - first_N[text_W]
