"""What a model sees."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle.errors import SchemaMismatch
from dinrank.model.bundle.graph import graph_inputs
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from tests.fixtures.bundle import SCHEMA

ITEM_ID = Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=3)


@st.composite
def schemas(draw: st.DrawFn) -> FeatureSchema:
    names = draw(st.lists(st.from_regex(r"\A[a-z_][a-z0-9_]{0,8}\Z"), unique=True, max_size=5))
    features = [ITEM_ID]
    for name in names:
        if name != "item_id":
            kind = draw(st.sampled_from(Kind))
            max_values = draw(st.integers(1, 9)) if kind is Kind.MULTI else 1
            features.append(Feature(name, draw(st.sampled_from(Group)), kind, draw(st.integers(2, 99)), max_values))
    return FeatureSchema(features=tuple(features), max_behaviours=draw(st.integers(1, 1000)))


@given(schemas())
def test_a_schema_survives_json(schema: FeatureSchema) -> None:
    assert FeatureSchema.from_json(json.loads(json.dumps(schema.to_json()))) == schema


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        None,
        {"max_behaviours": 5, "features": []},
        {"max_behaviours": 0, "features": SCHEMA.to_json()["features"]},
        {"max_behaviours": 5, "features": [{"name": "item_id"}]},
        {"max_behaviours": 5, "features": [SCHEMA.to_json()["features"][0] | {"group": "advertiser"}]},
    ],
)
def test_what_is_no_schema_is_refused(document: dict[str, object]) -> None:
    with pytest.raises(SchemaMismatch, match=r"schema.json: expected a feature schema"):
        FeatureSchema.from_json(document)


def test_a_feature_cannot_be_named_twice() -> None:
    with pytest.raises(ValueError, match="named twice: item_id"):
        FeatureSchema(features=(ITEM_ID, ITEM_ID), max_behaviours=5)


@pytest.mark.parametrize("name", ["", "two words", "9lives", "../up", "x" * 65, "größe"])
def test_a_features_name_is_fit_for_a_file_and_a_tensor(name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and underscores"):
        Feature(name, Group.ITEM, Kind.SINGLE, num_indices=2)


def test_the_item_id_is_a_single_valued_item_feature() -> None:
    with pytest.raises(ValueError, match="single-valued item feature"):
        Feature("item_id", Group.USER, Kind.SINGLE, num_indices=2)


def test_only_multi_valued_features_have_several_slots() -> None:
    with pytest.raises(ValueError, match="cannot have 2 values"):
        Feature("price", Group.ITEM, Kind.NUMERIC, num_indices=2, max_values=2)


def test_the_graphs_inputs_are_named_after_group_and_feature() -> None:
    assert graph_inputs(SCHEMA) == {
        "candidate_item_id": ("C",),
        "candidate_genre": ("C", 2),
        "candidate_price": ("C",),
        "behaviour_item_id": ("T",),
        "behaviour_genre": ("T", 2),
        "behaviour_price": ("T",),
        "user_gender": (1,),
        "user_age": (1,),
        "user_interests": (1, 2),
        "context_hour": (1,),
        "context_is_weekend": (1,),
    }
