import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.service.store import layout
from dinrank.service.store.layout import Behaviour, MalformedElement

GENRE = Feature("genre", Group.ITEM, Kind.MULTI, num_indices=9, max_values=3)
BRAND = Feature("brand", Group.ITEM, Kind.SINGLE, num_indices=9)
PRICE = Feature("price", Group.ITEM, Kind.NUMERIC, num_indices=9)
FEATURES = (GENRE, BRAND, PRICE)
BY_NAME = {feature.name: feature for feature in FEATURES}

any_text = st.text(st.characters(), max_size=12) | st.text("{}u:behaviours", max_size=12)
stored_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)  # Parquet and JSON hold no half surrogates
attributes = st.fixed_dictionaries(
    {}, optional={"genre": st.lists(stored_text, min_size=1, max_size=4), "brand": stored_text, "price": stored_text}
)


def test_keys_are_spelled_as_others_were_told() -> None:
    keys = (layout.behaviours_key("42"), layout.profile_key("42"), layout.ad_key("9001"))
    assert keys == (b"{u:42}:behaviours", b"{u:42}:profile", b"ad:9001")


@given(any_text)
def test_all_keys_of_a_user_lie_in_one_slot(user_id: str) -> None:
    keys = (
        layout.behaviours_key(user_id),
        layout.profile_key(user_id),
    )
    assert len({key_slot(key) for key in keys}) == 1


@given(any_text)
def test_a_behaviours_key_tells_its_user(user_id: str) -> None:
    assert layout.user_id_of(layout.behaviours_key(user_id)) == user_id


@given(any_text, any_text)
def test_no_other_key_of_anyone_is_a_behaviours_key(user_id: str, other: str) -> None:
    others = {layout.profile_key(other), layout.ad_key(other)}
    assert layout.behaviours_key(user_id) not in others


@pytest.mark.parametrize("key", [b"{u:42}:profile", b"u:42:behaviours", b"{u:\xff}:behaviours", b"{u:42}:behaviours:x"])
def test_a_key_that_is_no_behaviours_key_is_refused(key: bytes) -> None:
    with pytest.raises(MalformedElement):
        layout.user_id_of(key)


def test_a_behaviour_of_a_known_item_is_its_id_and_its_time() -> None:
    element = layout.encode_behaviour("2858", 978300760, FEATURES, {})
    assert json.loads(element) == {"item_id": "2858", "timestamp": 978300760}


def test_a_behaviour_of_a_new_item_carries_tokens() -> None:
    element = layout.encode_behaviour("9", 1.5, FEATURES, {"genre": ["Drama", 7, None], "brand": True, "price": 20.0})
    expected = {"item_id": "9", "timestamp": 1.5, "genre": ["Drama", "7"], "brand": "true", "price": "20"}
    assert json.loads(element) == expected


@given(stored_text, attributes)
def test_a_behaviour_survives_writing_and_reading(item_id: str, attributes: dict[str, str | list[str]]) -> None:
    element = layout.encode_behaviour(item_id, 1, FEATURES, attributes)
    assert layout.decode_behaviour(element, BY_NAME) == Behaviour(item_id, attributes)


@given(attributes)
def test_a_hash_survives_writing_and_reading(attributes: dict[str, str | list[str]]) -> None:
    fields = {name.encode(): text for name, text in layout.encode_hash(FEATURES, attributes).items()}
    assert layout.decode_hash(fields, BY_NAME) == (attributes, 0)


def test_a_hash_holds_plain_tokens_and_lists_as_json() -> None:
    fields = layout.encode_hash(FEATURES, {"genre": ["Sci-Fi", "Drama"], "brand": "[x]", "price": 3.0})
    assert fields == {"genre": b'["Sci-Fi","Drama"]', "brand": b"[x]", "price": b"3"}


@pytest.mark.parametrize("nothing", [None, [], [None], float("nan")])
def test_no_value_is_not_written(nothing: object) -> None:
    assert layout.encode_hash([GENRE], {"genre": nothing}) == {}


def test_an_empty_text_is_a_value() -> None:
    assert layout.encode_hash([BRAND], {"brand": ""}) == {"brand": b""}


def test_one_value_of_a_multi_valued_feature_is_a_list_of_one() -> None:
    assert layout.encode_hash([GENRE], {"genre": "Drama"}) == {"genre": b'["Drama"]'}


def test_several_values_of_a_single_valued_feature_are_refused() -> None:
    with pytest.raises(ValueError, match="brand takes one value"):
        layout.encode_hash([BRAND], {"brand": ["Acme", "Emca"]})


@given(st.binary(max_size=30))
def test_whatever_lies_in_a_list_is_a_behaviour_or_malformed(element: bytes) -> None:
    try:
        behaviour = layout.decode_behaviour(element, BY_NAME)
    except MalformedElement:
        return
    assert isinstance(behaviour.item_id, str)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | stored_text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(stored_text, inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["item_id", "timestamp", *BY_NAME, "other"]), json_values))
def test_whatever_json_lies_in_a_list_its_attributes_have_the_schemas_shape(document: dict[str, object]) -> None:
    try:
        behaviour = layout.decode_behaviour(json.dumps(document).encode(), BY_NAME)
    except MalformedElement:
        return
    for name, value in behaviour.attributes.items():
        assert isinstance(value, list) if BY_NAME[name].kind is Kind.MULTI else value is None or isinstance(value, str)
