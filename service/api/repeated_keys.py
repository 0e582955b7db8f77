"""Keys that one JSON object has twice. Parsers take the first or the last, and two of them not the same one."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

REPEATED = "the key is there twice: send it once"
_QUOTE, _COLON = 34, 58


def has_keys(body: bytes, count: int) -> bool:
    """Whether the objects in valid JSON have `count` keys together, where they have as many different ones at least.

    There is a colon after each key, and all others are in strings. So as many colons as keys are proof, which takes
    2 us of a body with 200 candidates; to tell the others apart takes 13.
    """
    num_colons = int(np.count_nonzero(np.frombuffer(body, np.uint8) == _COLON))
    return num_colons == count or _num_colons_outside_strings(body) == count


def _num_colons_outside_strings(body: bytes) -> int:
    if b"\\" in body:  # without what is escaped, each quote begins or ends a string
        body = body.replace(rb"\\", b"").replace(rb"\"", b"")
    characters = np.frombuffer(body, np.uint8)
    is_inside = np.logical_xor.accumulate(characters == _QUOTE)
    return int(np.count_nonzero((characters == _COLON) & ~is_inside))


def num_different_keys(document: Any) -> int:
    """Count the keys of all objects in parsed JSON."""
    count, unseen = 0, [document]
    while unseen:
        value = unseen.pop()
        if isinstance(value, dict):
            count += len(value)
            unseen.extend(value.values())
        elif isinstance(value, list):
            unseen.extend(value)
    return count


class _Members(list[tuple[str, Any]]):
    """An object as it was sent."""


def repeated_key(text: bytes) -> tuple[str, ...] | None:
    """Where valid JSON has the first key that its object has had before: names and places from the root to it."""
    # Numbers stay text: none is too long for that.
    return _repeated(json.loads(text.decode(), object_pairs_hook=_Members, parse_int=str, parse_float=str))


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _repeated(value: Any) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    is_object = isinstance(value, _Members)
    if is_object and (name := _first_repeated(name for name, _ in value)) is not None:
        return (name,)
    members = value if is_object else [(str(place), each) for place, each in enumerate(value)]
    for name, child in members:
        if (found := _repeated(child)) is not None:
            return (name, *found)
    return None
