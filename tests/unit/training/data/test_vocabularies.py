"""What the model will know, on a log small enough to count by hand.

The training rows hold item a once as candidate and twice as behaviour, b once and once, c once. Items d and e occur in
valid and test alone; items.parquet describes a, b and d.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
import pytest

from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.schema import Group, Kind
from dinrank.model.bundle.vocabulary import Buckets, Vocabulary
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import encode_dataset
from tests.fixtures.dataset import tiny_dataset

IMPRESSIONS = pl.DataFrame(
    [
        ("u1", "a", True, 1, "history", 1, ["top"]),
        ("u1", "b", True, 2, "train", 8, ["top", "wide"]),
        ("u1", "c", False, 3, "train", 9, ["top"]),
        ("u2", "a", False, 2, "train", 8, []),
        ("u1", "d", True, 4, "valid", 10, ["side", "top"]),
        ("u2", "e", False, 5, "test", 11, None),
    ],
    schema=["user_id", "item_id", "clicked", "timestamp", "split", "hour", "places"],
    orient="row",
)
ITEMS = pl.DataFrame(
    {
        "item_id": ["a", "b", "d"],
        "category": ["x", "y", "z"],
        "tags": [["t1", "t2"], ["t2"], ["t3", "t1", "t2"]],
        "price": [10.0, 20.0, 99.0],
    }
)
USERS = pl.DataFrame({"user_id": ["u1", "u2", "u3"], "gender": ["f", "m", "x"], "age": [30, 40, 50]})
FEATURES = (
    ("item_id", Group.ITEM, Kind.SINGLE),
    ("category", Group.ITEM, Kind.SINGLE),
    ("tags", Group.ITEM, Kind.MULTI),
    ("price", Group.ITEM, Kind.NUMERIC),
    ("gender", Group.USER, Kind.SINGLE),
    ("age", Group.USER, Kind.NUMERIC),
    ("hour", Group.CONTEXT, Kind.SINGLE),
    ("places", Group.CONTEXT, Kind.MULTI),
)


def by_hand(**changes: object) -> Dataset:
    arguments = {"items": ITEMS, "users": USERS, "features": FEATURES} | changes
    return tiny_dataset(IMPRESSIONS, **arguments)  # type: ignore[arg-type]  # a test names what it changes


def encoder(*, min_count: int = 1, **changes: object) -> Encoder:
    return encode_dataset(by_hand(**changes), min_count=min_count).encoder


def tokens(encoder: Encoder, feature: str) -> tuple[str, ...]:
    vocabulary = encoder.vocabularies[feature]
    assert isinstance(vocabulary, Vocabulary)
    return tuple(vocabulary.tokens)


def boundaries(encoder: Encoder, feature: str) -> tuple[float, ...]:
    vocabulary = encoder.vocabularies[feature]
    assert isinstance(vocabulary, Buckets)
    return vocabulary.boundaries


def test_only_training_rows_make_a_vocabulary_the_most_frequent_first() -> None:
    """Of context the history row does not count either: it is neither trained nor measured on."""
    made = encoder()
    assert tokens(made, "item_id") == ("a", "b", "c")
    assert tokens(made, "category") == ("x", "y")
    assert tokens(made, "tags") == ("t2", "t1")  # 3 + 2 occurrences of a and b, and 3 of a
    assert tokens(made, "gender") == ("f", "m")
    assert tokens(made, "hour") == ("8", "9")
    assert tokens(made, "places") == ("top", "wide")


@pytest.mark.parametrize(
    ("min_count", "item_ids", "tags", "hours"),
    [(2, ("a", "b"), ("t2", "t1"), ("8",)), (3, ("a",), ("t2", "t1"), ()), (4, (), ("t2",), ())],
)
def test_rarer_tokens_than_min_count_are_unknown(
    min_count: int, item_ids: Sequence[str], tags: Sequence[str], hours: Sequence[str]
) -> None:
    made = encoder(min_count=min_count)
    assert (tokens(made, "item_id"), tokens(made, "tags"), tokens(made, "hour")) == (item_ids, tags, hours)


def test_equally_frequent_tokens_stand_in_the_order_of_text() -> None:
    """`8` occurs twice, `10` and `9` once each."""
    hours = IMPRESSIONS.with_columns(pl.Series("hour", [1, 8, 9, 8, 8, 8]), split=pl.lit("train"))
    table = pl.concat([hours, hours.head(1).with_columns(pl.lit(10, dtype=pl.Int64).alias("hour"))])
    dataset = tiny_dataset(table, items=ITEMS, features=(FEATURES[0], FEATURES[6]))
    assert tokens(encode_dataset(dataset, min_count=1).encoder, "hour") == ("8", "1", "10", "9")


def test_the_catalogue_holds_the_described_items_then_those_of_training_and_history() -> None:
    assert tuple(encoder().catalogue.item_ids) == ("a", "b", "d", "c")


def test_a_catalogue_row_has_the_items_indices_after_the_padding_and_the_unknown_row() -> None:
    """d is described, but only valid shows it: its id and category are unknown, of its tags t3 alone. c is seen, but
    not described."""
    columns = encoder().catalogue.columns
    assert columns["item_id"].tolist() == [0, 1, 2, 3, 1, 4]
    assert columns["category"].tolist() == [0, 1, 2, 3, 1, 1]
    assert columns["tags"].tolist() == [[0, 0, 0], [1, 0, 0], [3, 2, 0], [2, 0, 0], [1, 3, 2], [1, 0, 0]]
    assert columns["price"].tolist() == [0, 1, 3, 4, 4, 1]


def test_rows_of_unseen_items_are_those_of_the_catalogue_or_unknown() -> None:
    data = encode_dataset(by_hand(), min_count=1)
    assert data.candidate_rows_N.tolist() == [2, 3, 5, 2, 4, 1]  # d is described, e is not
    assert data.behaviour_rows_B.tolist() == [2, 3, 4]  # u1 clicks a, b, d


def test_item_counts_are_the_occurrences_in_training_rows() -> None:
    """Per catalogue row: padding, unknown, a, b, d, c. The click on a before the training rows counts twice as a
    behaviour of them, the click on d never."""
    assert encode_dataset(by_hand(), min_count=1).item_counts.tolist() == [0, 0, 3, 2, 0, 1]


def test_behaviours_that_the_model_does_not_take_do_not_count() -> None:
    """With one behaviour at most, the row of c sees b alone."""
    data = encode_dataset(by_hand(max_behaviours=1), min_count=1)
    assert data.item_counts.tolist() == [0, 0, 2, 2, 0, 1]


def test_a_multi_valued_feature_has_as_many_slots_as_the_data_needs() -> None:
    slots = {feature.name: feature.max_values for feature in encoder().schema.features}
    assert (slots["tags"], slots["places"], slots["item_id"], slots["price"]) == (3, 2, 1, 1)
    limited = {feature.name: feature.max_values for feature in encoder(max_values=2).schema.features}
    assert limited["tags"] == 2


def test_buckets_are_cut_at_quantiles_of_the_training_rows() -> None:
    """Prices 10, 10, 10, 20, 20 occur; 99 does not, and c has none. Ages 30, 30, 40 occur."""
    made = encoder()
    assert boundaries(made, "price") == (10.0, 20.0)
    assert boundaries(made, "age") == (30.0, 40.0)
    sizes = {feature.name: feature.num_indices for feature in made.schema.features}
    assert (sizes["price"], sizes["item_id"], sizes["hour"]) == (2 + 3, 2 + 3, 2 + 2)


def test_each_bucket_holds_about_a_twentieth_of_the_training_rows() -> None:
    num_rows = 1000
    prices = np.random.default_rng(0).lognormal(size=num_rows)
    ids = [f"i{row}" for row in range(num_rows)]
    impressions = pl.DataFrame(
        {"user_id": "u", "item_id": ids, "clicked": False, "timestamp": range(num_rows), "split": "train"}
    )
    dataset = tiny_dataset(
        impressions,
        items=pl.DataFrame({"item_id": ids, "price": prices}),
        features=(("price", Group.ITEM, Kind.NUMERIC),),
    )
    made = encode_dataset(dataset, min_count=1).encoder
    num_in_bucket = np.bincount(made.catalogue.columns["price"], minlength=22)[2:]
    assert len(num_in_bucket) == 20
    assert num_in_bucket.tolist() == pytest.approx([num_rows / 20] * 20, abs=1)


@pytest.mark.parametrize("prices", [[None, None, None], [float("nan"), float("inf"), None]])
def test_a_numeric_feature_without_a_number_has_one_bucket(prices: list[float | None]) -> None:
    made = encoder(items=ITEMS.with_columns(pl.Series("price", prices, dtype=pl.Float64)))
    assert boundaries(made, "price") == ()


def test_the_same_value_in_other_types_is_one_token() -> None:
    """Hours 8 and 9 as floats, with NaN for none, are the tokens of the integers."""
    floats = IMPRESSIONS.with_columns(pl.Series("hour", [1.0, 8.0, 9.0, float("nan"), 10.0, None]))
    dataset = tiny_dataset(floats, items=ITEMS, users=USERS, features=FEATURES)
    data = encode_dataset(dataset, min_count=1)
    assert tokens(data.encoder, "hour") == ("8", "9")
    assert data.request["hour"].tolist() == [1, 2, 3, 1, 1, 1]
