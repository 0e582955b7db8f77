"""Vocabularies: raw value to index. 0 is padding and 1 is unknown, in every vocabulary."""

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.token_index import ABSENT, TokenIndex

PADDING_ID = 0
UNKNOWN_ID = 1
FIRST_ID = 2  # the first index that stands for a known value
_FEW = 1_024  # tokens also held in a dictionary, some 100 KB per feature and process

RawScalar = str | int | float | bool | None
RawValue = RawScalar | Sequence[RawScalar]


def token(value: RawScalar) -> str | None:
    """Return the text under which a raw value is looked up, or None for "no value".

    Log files, JSON and Redis hold the same value in different types; one spelling makes them match:
    `21`, `21.0` and `"21"` are one token, and so are `True` and `"true"`. NaN counts as no value.

    >>> token(21.0), token("21"), token(True), token(float("nan"))
    ('21', '21', 'true', None)
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value)


def positions(tokens: TokenIndex, values: Sequence[RawScalar]) -> NDArray[np.int64]:
    """Return the positions of the values' tokens: [N], ABSENT for None and for a token not in the index.

    Many values that are all text, as ids are, cost no Python work each.
    """
    try:
        return tokens.positions(values)  # type: ignore[arg-type]  # it refuses values that are not text
    except TypeError:
        texts = [token(value) for value in values]
    found = tokens.positions([text for text in texts if text is not None])
    all_positions = np.full(len(texts), ABSENT, dtype=np.int64)
    all_positions[[text is not None for text in texts]] = found
    return all_positions


@dataclass(frozen=True, slots=True, init=False)
class Vocabulary:
    """The known tokens of a feature; the token at position i has index i + 2."""

    tokens: TokenIndex
    _at_hand: Mapping[str, int] | None = field(init=False, repr=False, compare=False)  # all by text, if few

    def __init__(self, tokens: Iterable[str]) -> None:
        """Raises: ValueError, when a token comes twice."""
        index = TokenIndex.of(tokens)
        object.__setattr__(self, "tokens", index)
        at_hand = {text: position + FIRST_ID for position, text in enumerate(index)} if len(index) <= _FEW else None
        object.__setattr__(self, "_at_hand", at_hand)

    @property
    def num_indices(self) -> int:
        return len(self.tokens) + FIRST_ID

    def index(self, value: RawScalar) -> int:
        """Return the value's index; UNKNOWN_ID for None and for a token not in the vocabulary."""
        text = token(value)
        if text is None:
            return UNKNOWN_ID
        if self._at_hand is not None:
            return self._at_hand.get(text, UNKNOWN_ID)
        position = self.tokens.position(text)
        return UNKNOWN_ID if position == ABSENT else position + FIRST_ID

    def indices(self, values: Sequence[RawScalar]) -> NDArray[np.int64]:
        """The same for many values: [N]."""
        if len(values) == 1:
            return np.array([self.index(values[0])], dtype=np.int64)
        found = positions(self.tokens, values)
        return np.where(found == ABSENT, UNKNOWN_ID, found + FIRST_ID)


@dataclass(frozen=True, slots=True)
class Buckets:
    """A numeric feature's bucket boundaries, ascending; n boundaries make n + 1 buckets.

    A number x falls in the bucket after the last boundary that is <= x.
    """

    boundaries: tuple[float, ...]

    def __post_init__(self) -> None:
        finite = all(math.isfinite(boundary) for boundary in self.boundaries)
        ascending = all(low < high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False))
        if not (finite and ascending):
            raise ValueError("bucket boundaries must be finite and strictly ascending")

    @property
    def num_indices(self) -> int:
        return len(self.boundaries) + 1 + FIRST_ID

    def index(self, value: RawScalar) -> int:
        """The bucket's index; UNKNOWN_ID for None, NaN and text that is not a number."""
        try:
            number = float(value) if isinstance(value, str) else value
        except ValueError:
            return UNKNOWN_ID
        if number is None or number != number:  # NaN alone differs from itself
            return UNKNOWN_ID
        return bisect_right(self.boundaries, number) + FIRST_ID  # takes integers beyond a float's range too

    def indices(self, values: Sequence[RawScalar]) -> NDArray[np.int64]:
        return np.fromiter((self.index(value) for value in values), dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        return {"boundaries": list(self.boundaries)}

    @classmethod
    def from_json(cls, document: Any, *, file: str) -> Self:
        """Raises: SchemaMismatch, when `document` is not what `to_json` writes."""
        try:
            return cls(tuple(float(boundary) for boundary in document["boundaries"]))
        except (KeyError, TypeError, ValueError) as exc:
            raise SchemaMismatch(file, expected="a list of boundaries", found=str(exc)) from exc


FeatureVocabulary = Vocabulary | Buckets
