"""What is said of challengers at the start."""

from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.service.lineup.opening import lacking_features
from tests.fixtures.bundle import SCHEMA


def without(*names: str) -> FeatureSchema:
    return FeatureSchema(tuple(feature for feature in SCHEMA.features if feature.name not in names), max_behaviours=5)


def test_a_challenger_without_something_that_callers_may_send_is_told_of() -> None:
    assert lacking_features(SCHEMA, without("hour", "genre")) == ["genre", "hour"]
    assert lacking_features(without("hour"), SCHEMA) == []
    of_users = [feature.name for feature in SCHEMA.group(Group.USER)]
    assert lacking_features(SCHEMA, without(*of_users)) == []  # the profile comes from the store, not from callers
