"""A list read at once is the list read one by one."""

import json
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.service.store.layout import MalformedElement, decode_behaviour, decode_behaviours, encode_behaviour
from dinrank.service.store.protocol import StoredBehaviours

FEATURES = {
    "genre": Feature("genre", Group.ITEM, Kind.MULTI, num_indices=9, max_values=3),
    "brand": Feature("brand", Group.ITEM, Kind.SINGLE, num_indices=9),
}

# Pieces that JSON is made of, put together at random: seldom JSON, but often nearly.
fragments = st.lists(
    st.sampled_from(
        [*'{}[],:"\\ \n', "{}", "[{", '"item_id"', '"item_id":"1"', '{"item_id":"1"}', '"timestamp":1', "7"]
    ),
    max_size=7,
).map(lambda parts: "".join(parts).encode())
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=3) | st.sampled_from(["{", "}", "},{", "\n", '"'])
flat_values = texts | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.none() | st.booleans()
documents = st.dictionaries(
    st.sampled_from(["item_id", "timestamp", "genre", "brand", "other"]),
    flat_values | st.lists(texts, max_size=2) | st.dictionaries(texts, texts, max_size=1),
)
good = st.builds(
    lambda item_id, timestamp: encode_behaviour(item_id, timestamp), st.sampled_from(["1", "2", "{"]), st.integers(0, 9)
)
elements = (
    good
    | documents.map(lambda document: json.dumps(document).encode())
    | documents.map(lambda document: json.dumps(document, ensure_ascii=False, indent=1).encode())
    | fragments
    | st.binary(max_size=6)
)


def one_by_one(elements: list[bytes]) -> StoredBehaviours:
    behaviours = []
    for element in reversed(elements):
        with suppress(MalformedElement):
            behaviours.append(decode_behaviour(element, FEATURES))
    return StoredBehaviours(
        [each.item_id for each in behaviours],
        {place: each.attributes for place, each in enumerate(behaviours) if each.attributes},
    )


@given(st.lists(good, max_size=5) | st.lists(elements, max_size=5))
@example([b'{"a":"}', b'{":1}'])  # together one object whose text holds the seam
@example([b'{"item_id":"1"},{"item_id":"2"', b'"timestamp":3}'])  # two objects, cut elsewhere
@example([b'{"item_id":"1"}]', b'[{"item_id":"2"}'])
@example([b'{"item_id":"1"}\n', b'{"item_id":"2"}'])
@example([b'{"item_id":"1"', b'{"item_id":"2"}'])
@example([b'{"item_id":"1"},', b'{"item_id":"2"}'])
@example([b'{"item_id":"1","item_id":"2"}', b'{"item_id":3}'])
@example([b""])
def test_a_list_read_at_once_is_the_list_read_one_by_one(elements: list[bytes]) -> None:
    assert decode_behaviours(elements, FEATURES) == one_by_one(elements)


def test_only_behaviours_that_carry_attributes_have_some() -> None:
    newest_first = [
        encode_behaviour("new", 3, FEATURES.values(), {"genre": ["Drama"], "brand": "Acme"}),
        b'{"item_id": "2", "timestamp": 2, "colour": "red"}',
        encode_behaviour("1", 1),
    ]
    expected = StoredBehaviours(["1", "2", "new"], {2: {"genre": ["Drama"], "brand": "Acme"}})
    assert decode_behaviours(newest_first, FEATURES) == expected


def test_a_plain_list_is_not_read_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an element was read by itself")

    monkeypatch.setattr("dinrank.service.store.layout.decode_behaviour", refuse)
    newest_first = [encode_behaviour(str(number), number) for number in reversed(range(100))]
    assert decode_behaviours(newest_first, FEATURES).item_ids == [str(number) for number in range(100)]
