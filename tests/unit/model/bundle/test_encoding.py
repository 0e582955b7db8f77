"""Raw features to arrays. The indices expected here follow from the order of the fixture's vocabularies."""

import numpy as np
import pytest

from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.encoding import Encoder, UnknownFeatureError, encode_column
from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.schema import Feature, Group, Kind
from dinrank.model.bundle.token_index import TokenIndex
from dinrank.model.bundle.vocabulary import PADDING_ID, UNKNOWN_ID, Buckets, FeatureVocabulary, RawValue, Vocabulary
from tests.fixtures.bundle import MAX_BEHAVIOURS, SCHEMA, VOCABULARIES, make_encoder

COMEDY, DRAMA, HORROR = 2, 3, 4
CHEAP, MIDDLE, DEAR = 2, 3, 4
GENRE = next(feature for feature in SCHEMA.features if feature.name == "genre")


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return make_encoder()


def test_known_items_get_the_catalogues_indices(encoder: Encoder) -> None:
    encoded = encoder.items(["2", "1"])
    assert encoded["item_id"].tolist() == [3, 2]
    assert encoded["genre"].tolist() == [[DRAMA, COMEDY], [COMEDY, PADDING_ID]]
    assert encoded["price"].tolist() == [MIDDLE, CHEAP]


def test_an_unknown_item_is_unknown_in_every_feature(encoder: Encoder) -> None:
    encoded = encoder.items(["nobody knows"])
    assert encoded["item_id"].tolist() == [UNKNOWN_ID]
    assert encoded["genre"].tolist() == [[UNKNOWN_ID, PADDING_ID]]
    assert encoded["price"].tolist() == [UNKNOWN_ID]


def test_a_rare_item_has_known_attributes_and_an_unknown_id(encoder: Encoder) -> None:
    encoded = encoder.items(["rare"])
    assert encoded["item_id"].tolist() == [UNKNOWN_ID]
    assert encoded["genre"].tolist() == [[HORROR, COMEDY]]


def test_attributes_override_one_position_and_only_what_they_name(encoder: Encoder) -> None:
    encoded = encoder.items(["1", "1"], {1: {"genre": ["Drama"]}})
    assert encoded["genre"].tolist() == [[COMEDY, PADDING_ID], [DRAMA, PADDING_ID]]
    assert encoded["price"].tolist() == [CHEAP, CHEAP]


def test_an_override_never_stays_for_the_next_request(encoder: Encoder) -> None:
    encoder.items(["1"], {0: {"genre": ["Drama"], "price": 99}})
    assert encoder.items(["1"])["genre"].tolist() == [[COMEDY, PADDING_ID]]
    assert encoder.items(["1"])["price"].tolist() == [CHEAP]


@pytest.mark.parametrize("name", ["item_id", "gender", "hour", "colour"])
def test_only_attributes_of_items_can_be_overridden(encoder: Encoder, name: str) -> None:
    with pytest.raises(UnknownFeatureError, match=rf"'{name}' is no item feature of this model; it has: genre, price"):
        encoder.items(["1"], {0: {name: "x"}})


def test_a_list_for_a_feature_of_one_value_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UnknownFeatureError, match="price takes one value, not a list of 2"):
        encoder.items(["1"], {0: {"price": [1, 2]}})


@pytest.mark.parametrize(
    ("value", "slots"),
    [
        (["Comedy", "Drama"], [COMEDY, DRAMA]),
        (["Comedy", "Drama", "Horror"], [COMEDY, DRAMA]),
        (["Western", "Drama"], [UNKNOWN_ID, DRAMA]),
        ("Horror", [HORROR, PADDING_ID]),
        ([None, "Horror"], [HORROR, PADDING_ID]),
        ([], [UNKNOWN_ID, PADDING_ID]),
        (None, [UNKNOWN_ID, PADDING_ID]),
    ],
)
def test_the_first_values_of_a_multi_valued_feature_fill_its_slots(value: RawValue, slots: list[int]) -> None:
    assert encode_column(GENRE, VOCABULARIES["genre"], [value]).tolist() == [slots]


def test_no_things_give_an_empty_column_of_the_right_width() -> None:
    assert encode_column(GENRE, VOCABULARIES["genre"], []).shape == (0, GENRE.max_values)


def test_the_newest_behaviours_stay(encoder: Encoder) -> None:
    behaviours = [str(number) for number in range(MAX_BEHAVIOURS + 2)]
    assert encoder.newest(behaviours) == behaviours[2:]
    assert encoder.newest(behaviours[:1]) == behaviours[:1]
    assert encoder.newest([]) == []


def test_a_profile_may_lack_features_and_hold_more_than_the_model_uses(encoder: Encoder) -> None:
    encoded = encoder.users({"gender": "m", "shoe_size": 44})
    assert encoded["gender"].tolist() == [3]
    assert encoded["age"].tolist() == [UNKNOWN_ID]
    assert encoded["interests"].tolist() == [[UNKNOWN_ID, PADDING_ID]]


def test_context_is_looked_up_by_token(encoder: Encoder) -> None:
    encoded = encoder.context({"hour": 21.0, "is_weekend": True})
    assert encoded["hour"].tolist() == [3]
    assert encoded["is_weekend"].tolist() == [2]


def test_context_that_the_model_lacks_is_refused(encoder: Encoder) -> None:
    with pytest.raises(UnknownFeatureError, match="'weather' is no context feature"):
        encoder.context({"weather": "rain"})


def test_an_encoder_needs_a_vocabulary_of_the_schemas_size_for_each_feature() -> None:
    catalogue = make_encoder().catalogue
    without_hour = {name: vocabulary for name, vocabulary in VOCABULARIES.items() if name != "hour"}
    with pytest.raises(SchemaMismatch, match=r"vocabulary/hour: expected a vocabulary, found none"):
        Encoder(schema=SCHEMA, vocabularies=without_hour, catalogue=catalogue)
    with pytest.raises(SchemaMismatch, match=r"vocabulary/hour: expected 4 indices as in schema.json, found 3"):
        Encoder(schema=SCHEMA, vocabularies=without_hour | {"hour": Vocabulary(("9",))}, catalogue=catalogue)


@pytest.mark.parametrize(("name", "wrong"), [("hour", Buckets((1.0,))), ("age", Vocabulary(("a", "b")))])
def test_numbers_have_buckets_and_nothing_else_has(name: str, wrong: FeatureVocabulary) -> None:
    with pytest.raises(SchemaMismatch, match=rf"vocabulary/{name}: expected what a \w+ feature needs"):
        Encoder(schema=SCHEMA, vocabularies=VOCABULARIES | {name: wrong}, catalogue=make_encoder().catalogue)


def test_ten_thousand_behaviours_are_encoded_without_a_look_at_each(
    encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviours = [*(["2", "nobody knows", "rare", "1"] * 2_500)[:-1], "5"]
    expected = [encoder.items([item_id]) for item_id in [*behaviours[:4], "5"]]

    def refuse(*arguments: object) -> None:
        raise AssertionError(f"called with {arguments}")

    monkeypatch.setattr("dinrank.model.bundle.vocabulary.token", refuse)
    monkeypatch.setattr(TokenIndex, "position", refuse)
    encoded = encoder.items(behaviours)
    for name, values in encoded.items():
        *repeated, last = (each[name][0].tolist() for each in expected)
        assert values.tolist() == [*(2_500 * repeated)[:-1], last]


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (None, "items/price.npy: expected a column"),
        (np.zeros(8, dtype=np.int64), r"items/price.npy: expected int32 \(8,\), found int64"),
        (np.zeros((8, 2), dtype=np.int32), r"items/price.npy: expected int32 \(8,\), found int32 \(8, 2\)"),
        (np.full(8, 5, dtype=np.int32), "items/price.npy: expected indices from 0 to 4, found from 5 to 5"),
        (np.full(8, -1, dtype=np.int32), "items/price.npy: expected indices from 0 to 4, found from -1 to -1"),
    ],
)
def test_a_catalogue_column_must_fit_the_schema(column: np.ndarray | None, message: str) -> None:
    complete = make_encoder().catalogue
    columns = {name: values for name, values in complete.columns.items() if name != "price"}
    if column is not None:
        columns["price"] = column
    catalogue = Catalogue(item_ids=complete.item_ids, columns=columns)
    with pytest.raises(SchemaMismatch, match=message):
        Encoder(schema=SCHEMA, vocabularies=VOCABULARIES, catalogue=catalogue)


def test_a_single_feature_takes_text_that_looks_like_a_list() -> None:
    feature = Feature("brand", Group.ITEM, Kind.SINGLE, num_indices=3)
    assert encode_column(feature, Vocabulary(("abc",)), ["abc", "a"]).tolist() == [2, UNKNOWN_ID]
