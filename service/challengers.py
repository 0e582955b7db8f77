"""How challengers are named in a setting: `PATH:SHARE` or `PATH:shadow`, several with commas between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_SHADOW = "shadow"


@dataclass(frozen=True, slots=True)
class Challenger:
    """A bundle that ranks beside the champion.

    Attributes:
        bundle: its directory, or a link to it.
        share: of the users, above 0 and at most 1; None for a shadow, which ranks for nobody and is only compared.
    """

    bundle: Path
    share: float | None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises: ValueError, which says what is taken."""
        path, colon, share = text.strip().rpartition(":")
        if not (path and colon):
            raise ValueError(
                f"{text!r} is no challenger: write PATH:SHARE, bundles/new:0.1 for instance, or PATH:shadow"
            )
        if share == _SHADOW:
            return cls(Path(path), None)
        try:
            number = float(share)
        except ValueError:
            number = 0.0
        if not 0.0 < number <= 1.0:
            raise ValueError(f"{share!r} in {text!r} is no share: write a number above 0, at most 1, or `shadow`")
        return cls(Path(path), number)

    def __str__(self) -> str:
        return f"{self.bundle}:{_SHADOW if self.share is None else self.share}"


def parse_challengers(text: str) -> tuple[Challenger, ...]:
    """Raises: ValueError, when one cannot be read, or all together have more than all users."""
    challengers = tuple(map(Challenger.parse, filter(str.strip, text.split(","))))
    whole = sum(challenger.share or 0.0 for challenger in challengers)
    if whole > 1.0:
        raise ValueError(f"the challengers' shares add up to {whole:g}; at most 1 leaves the champion the rest")
    return challengers


def spell_challengers(challengers: Sequence[Challenger]) -> str:
    """The inverse of `parse_challengers`."""
    return ",".join(map(str, challengers))
