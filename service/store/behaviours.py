"""Read a whole behaviours list at once: what takes one look at each element takes too long with thousands of them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from operator import contains, itemgetter
from typing import Any

import orjson

from model.bundle.schema import ITEM_ID, Feature
from service.store.layout import TIMESTAMP, MalformedElement, attributes_in, decode_behaviour, item_id_in
from service.store.protocol import StoredBehaviours


def decode_behaviours(elements: Sequence[bytes], item_features: Mapping[str, Feature]) -> StoredBehaviours:
    """The readable ones among `elements`, which come newest first; the caller counts what is missing.

    Gives what `decode_behaviour` gives for one element after the other, and does so for most lists in one parse. Lists
    with a malformed element, or with objects inside of elements, are read one by one.
    """
    documents = _parse_together(elements)
    if documents is not None:
        documents.reverse()
        with suppress(MalformedElement):  # each on its own then, as the others stand
            return StoredBehaviours(_item_ids(documents), _attributes(documents, item_features))
    return _one_by_one(elements, item_features)


def _parse_together(elements: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """All elements by one parse, in their order; None when that could give anything but what each gives by itself.

    The elements are joined to one JSON array, a line each. It holds as many lines as elements, every line begins with
    `{`, and there is no `{` elsewhere, not even in a string. When it then parses to as many objects as there are
    elements, each of those `{` begins one of the objects, so each object ends before the next line's `{`; all that
    stands between its end and that `{` is white space and the one comma that joins them. So every line but for its
    comma is one whole JSON object.
    """
    if not elements:
        return []
    text = b"[" + b",\n".join(elements) + b"]"
    seams = len(elements) - 1
    is_one_a_line = text.startswith(b"[{") and text.count(b"\n") == text.count(b"\n{") == seams
    if not is_one_a_line or text.count(b"{") != len(elements):
        return None
    try:
        documents: list[dict[str, Any]] = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return documents if len(documents) == len(elements) and set(map(type, documents)) == {dict} else None


def _item_ids(documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Raises: MalformedElement."""
    try:
        item_ids = list(map(itemgetter(ITEM_ID), documents))
    except KeyError as exc:
        raise MalformedElement(f"a behaviour names its {ITEM_ID}") from exc
    return item_ids if set(map(type, item_ids)) <= {str} else [item_id_in(document) for document in documents]


def _attributes(
    documents: Sequence[Mapping[str, Any]], item_features: Mapping[str, Feature]
) -> dict[int, Mapping[str, Any]]:
    """By position, of those that carry any. Raises: MalformedElement."""
    if set(map(len, documents)) <= {2} and all(map(contains, documents, repeat(TIMESTAMP))):
        return {}  # id and timestamp
    by_position = {place: attributes_in(document, item_features) for place, document in enumerate(documents)}
    return {place: attributes for place, attributes in by_position.items() if attributes}


def _one_by_one(elements: Sequence[bytes], item_features: Mapping[str, Feature]) -> StoredBehaviours:
    behaviours = []
    for element in reversed(elements):
        with suppress(MalformedElement):
            behaviours.append(decode_behaviour(element, item_features))
    return StoredBehaviours(
        [behaviour.item_id for behaviour in behaviours],
        {place: behaviour.attributes for place, behaviour in enumerate(behaviours) if behaviour.attributes},
    )
