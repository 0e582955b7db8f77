"""Data layout in Redis: keys, types and encodings, defined only here.

    {u:<user_id>}:behaviours   LIST, newest first; an element is {"item_id": "2858", "timestamp": 978300760}, and
                               item features beside them if the item is newer than the bundle
    {u:<user_id>}:events       ZSET, event id -> timestamp, of the live behaviours in the list; `scripts` explains its
                               use
    {u:<user_id>}:profile      HASH, feature name -> value
    ad:<ad_id>                 HASH, feature name -> value, of an ad that is newer than the bundle

A value in a HASH is a token as plain text, or, for a multi-valued feature, a JSON list of tokens. Absent means unknown.
Names that the schema lacks are ignored: several models may share one Redis.

Redis Cluster hashes a key by its hash tag, the text between the first `{` and the first `}` after it. All keys of a
user begin with the same `{u:<user_id>}`, so they share a slot for any id: a `}` in the id only shortens the tag, in
all keys alike, and `u:` keeps the tag from being empty, which would disable it.
"""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import repeat
from operator import contains, itemgetter
from typing import Any

import orjson

from dinrank.model.bundle.encoding import Attributes
from dinrank.model.bundle.schema import ITEM_ID, Feature, Kind
from dinrank.model.bundle.vocabulary import RawScalar, RawValue, token
from dinrank.service.store.protocol import StoredBehaviours

BEHAVIOURS_PATTERN = b"{u:*}:behaviours"  # for SCAN

TIMESTAMP = "timestamp"

MAX_STORED_BEHAVIOURS = 10_000  # by default: live behaviours make a list no longer than this

_BEHAVIOURS_PREFIX, _BEHAVIOURS_SUFFIX = "{u:", "}:behaviours"


class MalformedElement(ValueError):
    """A stored element that does not follow this layout."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One decoded element of a behaviours list.

    Attributes:
        attributes: the item features beside the id; usually empty.
    """

    item_id: str
    attributes: Attributes = field(default_factory=dict)


def behaviours_key(user_id: str) -> bytes:
    return _key(f"{_BEHAVIOURS_PREFIX}{user_id}{_BEHAVIOURS_SUFFIX}")


def events_key(user_id: str) -> bytes:
    return _key(f"{{u:{user_id}}}:events")


def profile_key(user_id: str) -> bytes:
    return _key(f"{{u:{user_id}}}:profile")


def ad_key(ad_id: str) -> bytes:
    return _key(f"ad:{ad_id}")


def user_id_of(behaviours_key: bytes) -> str:
    """Return the user id of a behaviours key: the inverse of `behaviours_key`.

    Raises:
        MalformedElement: a key that `behaviours_key` never returns.
    """
    try:
        text = behaviours_key.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as exc:
        raise MalformedElement(f"{behaviours_key!r} is not UTF-8") from exc
    if not (text.startswith(_BEHAVIOURS_PREFIX) and text.endswith(_BEHAVIOURS_SUFFIX)):
        raise MalformedElement(f"{behaviours_key!r} is not a behaviours key")
    return text[len(_BEHAVIOURS_PREFIX) : -len(_BEHAVIOURS_SUFFIX)]


def _key(text: str) -> bytes:
    # surrogatepass: JSON can hold half a surrogate pair, and a strange id must find nothing rather than raise.
    return text.encode("utf-8", "surrogatepass")


def encode_behaviour(
    item_id: str, timestamp: float, features: Iterable[Feature] = (), attributes: Attributes | None = None
) -> bytes:
    """Encode one element of a behaviours list.

    Args:
        timestamp: in the dataset's own unit; readers rely on the order of the list.
        features: the item features to store inline. One that is itself called `timestamp` cannot be stored.
        attributes: their raw values, for an item that the bundle's catalogue lacks.

    Raises:
        ValueError: a list for a feature that takes one value.
    """
    inline = {}
    if attributes:
        spelled = {feature.name: _spelled(feature, attributes.get(feature.name)) for feature in features}
        inline = {name: value for name, value in spelled.items() if value is not None}
    return orjson.dumps({**inline, ITEM_ID: item_id, TIMESTAMP: timestamp})


def decode_behaviour(element: bytes, item_features: Mapping[str, Feature]) -> Behaviour:
    """Decode one element; its timestamp is ignored, as the list is in order.

    Raises:
        MalformedElement: not a JSON object, no item id, or a feature's value of the wrong shape.
    """
    document = _json(element)
    if not isinstance(document, dict):
        raise MalformedElement("a behaviour is a JSON object")
    return Behaviour(item_id_in(document), attributes_in(document, item_features))


def item_id_in(document: Mapping[str, Any]) -> str:
    """Return the item id of a parsed element. Raises: MalformedElement."""
    item_id = _token(document.get(ITEM_ID))
    if item_id is None:
        raise MalformedElement(f"a behaviour names its {ITEM_ID}")
    return item_id


def attributes_in(document: Mapping[str, Any], item_features: Mapping[str, Feature]) -> Attributes:
    """Return the item features of a parsed element. Raises: MalformedElement."""
    if len(document) == 1 + (TIMESTAMP in document):
        return {}
    return {
        name: _tokens(value) if item_features[name].kind is Kind.MULTI else _token(value)
        for name, value in document.items()
        if name in item_features and name not in (ITEM_ID, TIMESTAMP)
    }


def encode_hash(features: Iterable[Feature], attributes: Attributes) -> dict[str, bytes]:
    """Encode every feature that has a value, by field name.

    Raises:
        ValueError: a list for a feature that takes one value.
    """
    fields = {}
    for feature in features:
        value = _spelled(feature, attributes.get(feature.name))
        if value is not None:
            fields[feature.name] = value.encode() if isinstance(value, str) else orjson.dumps(value)
    return fields


def decode_hash(fields: Mapping[bytes, bytes], features: Mapping[str, Feature]) -> tuple[dict[str, RawValue], int]:
    """Return the attributes in a HASH, and the number of unreadable fields that were left out."""
    attributes: dict[str, RawValue] = {}
    num_malformed = 0
    for name, feature in features.items():
        text = fields.get(name.encode())
        if text is None:
            continue
        try:
            attributes[name] = _tokens(_json(text)) if feature.kind is Kind.MULTI else text.decode()
        except (MalformedElement, UnicodeDecodeError):
            num_malformed += 1
    return attributes, num_malformed


def _spelled(feature: Feature, value: RawValue) -> str | list[str] | None:
    """Return a raw value as its token, or as a list of tokens; None if there is none."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        text = token(value)
        if feature.kind is not Kind.MULTI:
            return text
        return None if text is None else [text]
    if feature.kind is not Kind.MULTI:
        raise ValueError(f"feature {feature.name} takes one value, not a list of {len(value)}")
    return [text for text in map(token, value) if text is not None] or None


def _json(text: bytes) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        raise MalformedElement(f"not JSON: {exc}") from exc


def _token(value: object) -> str | None:
    if value is not None and not isinstance(value, str | int | float):
        raise MalformedElement(f"one value expected, not {type(value).__name__}")
    return token(value)


def _tokens(value: object) -> list[RawScalar]:
    if not isinstance(value, list):
        raise MalformedElement(f"a list expected, not {type(value).__name__}")
    return [_token(each) for each in value]


def decode_behaviours(elements: Sequence[bytes], item_features: Mapping[str, Feature]) -> StoredBehaviours:
    """Decode the readable ones among `elements`, which come newest first; the caller counts the missing ones.

    Same result as `decode_behaviour` for each element, but with a single parse for most lists. Lists with a malformed
    element, or with nested objects, are decoded one by one.
    """
    documents = _parse_together(elements)
    if documents is not None:
        documents.reverse()
        with suppress(MalformedElement):  # then each on its own, to keep the others
            return StoredBehaviours(_item_ids(documents), _attributes(documents, item_features))
    return _one_by_one(elements, item_features)


def _parse_together(elements: Sequence[bytes]) -> list[dict[str, Any]] | None:
    """Parse all elements at once, in order; None if the result might differ from parsing each by itself.

    The elements are joined into one JSON array, one per line. It has as many lines as elements, every line begins with
    `{`, and there is no other `{`, not even in a string. If it then parses to as many objects as there are elements,
    each `{` begins one object, so each object ends before the next line's `{`; between them are only white space and
    the comma that joins them. So every line without its comma is one whole JSON object.
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
    """Return attributes by position, for elements that have any. Raises: MalformedElement."""
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
