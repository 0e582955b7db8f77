"""Deterministic traffic split: a user keeps the same model as long as the shares stay."""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from itertools import accumulate

_DIGEST_BYTES = 8

_BITS = 53  # of the digest: as many as a float holds exactly, so the result is never 1


def point_of(user_id: str, salt: str) -> float:
    """Hash a user to a number from 0 to 1 (exclusive): uniform, and independent for each salt.

    The same on every machine and in every version: experiments depend on it.
    """
    text = f"{salt}\0{user_id}".encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=_DIGEST_BYTES).digest()
    return (int.from_bytes(digest, "big") >> 8 * _DIGEST_BYTES - _BITS) / (1 << _BITS)


def challenger_of(point: float, shares: Sequence[float]) -> int | None:
    """Return the index of the challenger for a user at `point`; None for the champion.

    The first challenger has the users from 0 to its share, the second those after them, and so on. So the first one
    keeps its users while its share grows, and while challengers after it come and go.

    >>> [challenger_of(point, [0.1, 0.2]) for point in (0.05, 0.1, 0.29, 0.3)]
    [0, 1, 1, None]
    """
    return next((place for place, end in enumerate(accumulate(shares)) if point < end), None)


class Role(StrEnum):
    """Role of a model in the line-up."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"  # its rankings are only compared, never returned
