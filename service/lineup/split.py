"""Which of several models ranks for a user: the same one for ever, as long as the shares stay."""

from collections.abc import Sequence
from enum import StrEnum
from hashlib import blake2b
from itertools import accumulate

_DIGEST_BYTES = 8

_BITS = 53  # of the digest: as many as a float holds exactly, so that the result is never 1


def point_of(user_id: str, salt: str) -> float:
    """Where a user stands between 0 and 1 (exclusive): evenly spread, and with another salt anew and independently.

    The same on every machine and in every version: experiments rest on it.
    """
    text = f"{salt}\0{user_id}".encode("utf-8", "surrogatepass")
    digest = blake2b(text, digest_size=_DIGEST_BYTES).digest()
    return (int.from_bytes(digest, "big") >> 8 * _DIGEST_BYTES - _BITS) / (1 << _BITS)


def challenger_of(point: float, shares: Sequence[float]) -> int | None:
    """Which challenger has a user at `point`; None for the champion.

    The first challenger has the users from 0 to its share, the second those after them, and so on. So the first one's
    users stay its own while its share grows, and while challengers come and go behind it.

    >>> [challenger_of(point, [0.1, 0.2]) for point in (0.05, 0.1, 0.29, 0.3)]
    [0, 1, 1, None]
    """
    return next((place for place, end in enumerate(accumulate(shares)) if point < end), None)


class Role(StrEnum):
    """One of several models that are served side by side."""

    CHAMPION = "champion"
    CHALLENGER = "challenger"
    SHADOW = "shadow"  # ranks for nobody and is compared
