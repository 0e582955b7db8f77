"""Tokens and their positions: looked up many at once, in arrays that may lie in memory-mapped files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.packed_text import WORD, Indices, PackedTexts, Words, hash_one, pack_in_chunks, pack_one

ABSENT = -1  # the position of a token that the index lacks
ARRAYS = ("words", "starts", "buckets", "positions", "fingerprints")  # returned by `arrays`, taken by `from_arrays`
_FEW = 16  # up to this many, looking up one by one is faster than all at once
_HASH_BITS = 64
_MAX_TOKENS = 2**31 - 1
_BLOCK = 1 << 20  # entries checked at a time, which bounds the memory of a check


class BrokenIndex(ValueError):
    """The arrays do not form an index.

    Attributes:
        array: which of `ARRAYS` contradicts itself or the others.
    """

    def __init__(self, array: str, *, expected: str, found: str) -> None:
        super().__init__(f"{array}: expected {expected}, found {found}")
        self.array = array
        self.expected = expected
        self.found = found


# Legend: N = tokens, B = buckets, Q = tokens looked up together, P = pairs of one looked up and one of its bucket.
@dataclass(frozen=True, slots=True, eq=False)
class TokenIndex:
    """Ordered distinct tokens, with a look-up from token to position.

    A hash table made of arrays, so that processes can share it. The first bits of a token's hash name its bucket, and
    the tokens of bucket b are those at `positions_N[bucket_starts[b]:bucket_starts[b + 1]]`, at most one on average.
    Those with the right fingerprint are compared byte by byte: hash collisions cost time but never give a wrong
    position.

    Attributes:
        texts: the tokens in order.
        bucket_starts: ascending from 0 to N, [B + 1]; B is a power of two.
        fingerprints_N: the last 8 bits of the hashes, in the order of `positions_N`.
    """

    texts: PackedTexts
    bucket_starts: NDArray[np.uint32]
    positions_N: NDArray[np.uint32]
    fingerprints_N: NDArray[np.uint8]

    @classmethod
    def of(cls, tokens: Iterable[str]) -> "TokenIndex":
        """Index tokens, which need not all be in memory at once. An existing index is returned as it is.

        Raises:
            ValueError: a token comes twice, or there are more than 2^31 - 1.
        """
        if isinstance(tokens, TokenIndex):
            return tokens
        texts = pack_in_chunks(tokens)
        if texts.num_texts > _MAX_TOKENS:
            raise ValueError(f"an index takes at most {_MAX_TOKENS} tokens, not {texts.num_texts}")
        hashes_N = texts.hashes()
        positions_N = np.argsort(hashes_N, kind="stable")
        _refuse_duplicates(texts, hashes_N[positions_N], positions_N)
        num_bits = max(1, (texts.num_texts - 1).bit_length())  # at least as many buckets as tokens, below twice as many
        counts_B = np.bincount(_first_bits(hashes_N, num_bits), minlength=1 << num_bits)
        bucket_starts = np.zeros(len(counts_B) + 1, dtype=np.uint32)
        np.cumsum(counts_B, out=bucket_starts[1:])
        return cls(texts, bucket_starts, positions_N.astype(np.uint32), hashes_N[positions_N].astype(np.uint8))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Build an index from its `arrays`, which may be memory-mapped. Look-ups stay inside them, whatever they hold.

        Raises:
            BrokenIndex: they do not fit together.
        """
        words, starts, bucket_starts, positions, fingerprints = (arrays[name] for name in ARRAYS)
        _check_type("words", words, WORD)
        _check_type("starts", starts, np.dtype("<u4"), np.dtype("<i8"))
        _check_type("buckets", bucket_starts, np.dtype("<u4"))
        _check_type("positions", positions, np.dtype("<u4"))
        _check_type("fingerprints", fingerprints, np.dtype("u1"))
        _check_ascending("starts", starts, len(words))
        _check_ascending("buckets", bucket_starts, len(positions))
        num_tokens, num_buckets = len(starts) - 1, len(bucket_starts) - 1
        if num_buckets < 2 or num_buckets.bit_count() != 1:
            raise BrokenIndex("buckets", expected="a power of two of them, at least 2", found=str(num_buckets))
        for name, array in (("positions", positions), ("fingerprints", fingerprints)):
            if len(array) != num_tokens:
                raise BrokenIndex(name, expected=f"{num_tokens}, one per token", found=str(len(array)))
        if num_tokens and int(positions.max()) >= num_tokens:
            raise BrokenIndex("positions", expected=f"none beyond {num_tokens - 1}", found=str(positions.max()))
        return cls(PackedTexts(words, starts), bucket_starts, positions, fingerprints)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the index's arrays, by name."""
        held = (self.texts.words_W, self.texts.starts, self.bucket_starts, self.positions_N, self.fingerprints_N)
        return dict(zip(ARRAYS, held, strict=True))

    def position(self, token: str) -> int:
        """Return the token's position; ABSENT if it is not in the index."""
        packed = pack_one(token)
        bucket = hash_one(packed) >> _HASH_BITS - self._num_bits
        for position in self.positions_N[self.bucket_starts[bucket] : self.bucket_starts[bucket + 1]].tolist():
            if self.texts.packed(position) == packed:
                return int(position)
        return ABSENT

    def positions(self, tokens: Sequence[str]) -> Indices:
        """Return the position of each token, or ABSENT: [Q]. Many tokens cost no Python work each.

        Raises:
            TypeError: one of them is no text.
        """
        if len(tokens) <= _FEW:
            return np.array([self.position(token) for token in tokens], dtype=np.int64)
        packed = PackedTexts.pack(tokens)
        hashes_Q = packed.hashes()
        bucket_Q = _first_bits(hashes_Q, self._num_bits)
        first_Q = self.bucket_starts[bucket_Q].astype(np.int64)
        size_Q = self.bucket_starts[bucket_Q + 1] - first_Q
        token_P = np.arange(len(tokens)).repeat(size_Q)
        entry_P = np.arange(len(token_P)) + (first_Q - (size_Q.cumsum() - size_Q))[token_P]
        may_be_P = self.fingerprints_N[entry_P] == hashes_Q.astype(np.uint8)[token_P]
        token_P, entry_P = token_P[may_be_P], entry_P[may_be_P]
        position_P = self.positions_N[entry_P].astype(np.int64)
        is_it_P = packed.equal(token_P, self.texts, position_P)
        positions_Q = np.full(len(tokens), ABSENT, dtype=np.int64)
        positions_Q[token_P[is_it_P]] = position_P[is_it_P]
        return positions_Q

    @property
    def _num_bits(self) -> int:
        return (len(self.bucket_starts) - 1).bit_length() - 1

    def __len__(self) -> int:
        return self.texts.num_texts

    def __getitem__(self, position: int) -> str:
        return self.texts.text(range(len(self))[position])

    def __iter__(self) -> Iterator[str]:
        return self.texts.texts()

    def __contains__(self, token: str) -> bool:
        return self.position(token) != ABSENT

    def __eq__(self, other: object) -> bool:
        """Return whether both have equal tokens in the same order."""
        return isinstance(other, TokenIndex) and self.texts == other.texts

    __hash__ = None  # type: ignore[assignment]  # compared by content, which is too much to hash


def _first_bits(hashes: Words, num_bits: int) -> Indices:
    return (hashes >> np.uint64(_HASH_BITS - num_bits)).astype(np.int64)


def _refuse_duplicates(texts: PackedTexts, sorted_hashes_N: Words, positions_N: Indices) -> None:
    collides_N = np.zeros(len(positions_N), dtype=np.bool_)
    collides_N[1:] = sorted_hashes_N[1:] == sorted_hashes_N[:-1]
    collides_N[:-1] |= collides_N[1:]
    seen = set()
    for position in positions_N[collides_N].tolist():
        text = texts.text(position)
        if text in seen:
            raise ValueError(f"{text!r} comes twice; each token may come once")
        seen.add(text)


def _check_type(name: str, array: NDArray[Any], *dtypes: np.dtype[Any]) -> None:
    if array.ndim != 1 or array.dtype not in dtypes:
        expected = " or ".join(str(dtype) for dtype in dtypes)
        raise BrokenIndex(name, expected=f"{expected} in one dimension", found=f"{array.dtype} {array.shape}")


def _check_ascending(name: str, starts: NDArray[Any], end: int) -> None:
    if len(starts) == 0 or starts[0] != 0 or starts[-1] != end:
        found = f"{starts[0]} to {starts[-1]}" if len(starts) else "nothing"
        raise BrokenIndex(name, expected=f"numbers from 0 to {end}", found=found)
    for first in range(0, len(starts) - 1, _BLOCK):
        block = starts[first : first + _BLOCK + 1]
        if (block[1:] < block[:-1]).any():
            raise BrokenIndex(name, expected="ascending numbers", found="descending ones")
