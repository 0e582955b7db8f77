"""The raw rows are invented; a day is 86,400 seconds, as in the files, which know the day alone."""

import gzip
import json
import tomllib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.training.errors import DatasetError
from dinrank.training.prepare.amazon import impressions_from_reviews, prepare_amazon_reviews

DAY = 86_400
# user, item, day: user "ann" reviewed c and d on one day, "bob" twice in all, "cho" once, "dee" thrice on one day
REVIEWS = [
    ("ann", "d", 3),
    ("bob", "b", 9),
    ("ann", "c", 3),
    ("ann", "a", 1),
    ("bob", "a", 2),
    ("cho", "f", 5),
    ("dee", "b", 4),
    ("ann", "e", 7),
    ("dee", "a", 4),
    ("dee", "c", 4),
]
EXPECTED_CLICKS = [
    ("ann", "a", 0, "history"),
    ("ann", "d", 1, "train"),
    ("ann", "c", 1, "valid"),
    ("ann", "e", 2, "test"),
    ("bob", "a", 0, "history"),
    ("bob", "b", 1, "test"),
    ("cho", "f", 0, "history"),
    ("dee", "b", 0, "history"),
    ("dee", "a", 0, "valid"),
    ("dee", "c", 0, "test"),
]
META = [
    {"asin": "a", "title": "It's", "categories": [["Shop", "Tools", "Saws"], ["Shop", "Gifts"]], "brand": "Zig"},
    {"asin": "b", "categories": [["Shop"]], "brand": ""},
    {"asin": "c", "categories": [[]]},
    {"asin": "d", "brand": "Zag"},
    {"asin": "never reviewed", "categories": [["Shop"]], "brand": "Zig"},
    {"asin": "a", "categories": [["Again"]], "brand": "Again"},
]


def frame(reviews: list[tuple[str, str, int]]) -> pl.DataFrame:
    rows = [(user, item, day * DAY) for user, item, day in reviews]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "second"], orient="row")


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    raw = tmp_path / "raw"
    raw.mkdir()
    reviews = [{"reviewerID": user, "asin": item, "unixReviewTime": day * DAY} for user, item, day in REVIEWS]
    (raw / "reviews_Hand_Tools_5.json").write_text("".join(json.dumps(review) + "\n" for review in reviews))
    (raw / "meta_Hand_Tools.json").write_text("".join(repr(item) + "\n" for item in META))
    return raw


def test_reviews_are_ordered_and_split_by_user() -> None:
    impressions = impressions_from_reviews(frame(REVIEWS), seed=0)
    clicks = impressions.filter("clicked").select("user_id", "item_id", "timestamp", "split")
    assert clicks.rows() == EXPECTED_CLICKS


def test_every_review_but_the_first_has_one_negative_beside_it() -> None:
    impressions = impressions_from_reviews(frame(REVIEWS), seed=0)
    negatives = impressions.filter(~pl.col("clicked")).select("user_id", "timestamp", "split").rows()
    assert negatives == [(user, step, split) for user, _, step, split in EXPECTED_CLICKS if split != "history"]


def test_a_negative_comes_before_its_review_as_often_as_after() -> None:
    reviews = [(f"user {number}", item, day) for number in range(1000) for day, item in enumerate("ab")]
    impressions = impressions_from_reviews(frame([*reviews, ("other", "c", 0)]), seed=0)
    tests = impressions.filter(pl.col("split") == "test")
    clicked_first = tests["clicked"].to_numpy()[::2].sum()
    assert 1000 / 2 - 6 * 16 < clicked_first < 1000 / 2 + 6 * 16  # a coin's standard deviation is 16 of 1000


def test_one_seed_gives_one_dataset_and_another_seed_another() -> None:
    reviews = frame(
        [(f"user {number}", f"item {(number * step) % 97}", step) for number in range(30) for step in (1, 2)]
    )
    first, again, other = (impressions_from_reviews(reviews, seed=seed) for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


@given(
    reviews=st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 3)), min_size=1, max_size=25
    ),
    seed=st.integers(0, 1000),
)
def test_a_drawn_negative_was_never_reviewed_by_the_user(reviews: list[tuple[str, str, int]], seed: int) -> None:
    impressions = impressions_from_reviews(frame([*reviews, ("other", "spare", 0)]), seed=seed)
    reviewed = {(user, item) for user, item, _ in reviews}
    negatives = impressions.filter(~pl.col("clicked"))
    assert not reviewed.intersection(negatives.select("user_id", "item_id").iter_rows())
    assert set(negatives["item_id"]) <= {item for _, item, _ in reviews} | {"spare"}


@given(
    st.lists(
        st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef"), st.integers(0, 3)),
        min_size=1,
        max_size=18,
        unique_by=lambda review: review[:2],
    )
)
def test_simultaneous_reviews_and_only_they_share_a_timestamp(reviews: list[tuple[str, str, int]]) -> None:
    impressions = impressions_from_reviews(frame([*reviews, ("other", "spare", 0)]), seed=0)
    clicks = impressions.filter("clicked")
    day_of = {(user, item): day for user, item, day in [*reviews, ("other", "spare", 0)]}
    assert len(clicks) == len(day_of)
    for user, item, _, timestamp, _ in clicks.iter_rows():
        earlier_days = {day for (owner, _), day in day_of.items() if owner == user and day < day_of[user, item]}
        assert timestamp == len(earlier_days)


def test_a_dataset_holds_the_reviewed_items_with_their_attributes(raw: Path, tmp_path: Path) -> None:
    prepare_amazon_reviews(raw, tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out/items.parquet").rows() == [
        ("a", "Saws", "Zig"),
        ("b", "Shop", None),
        ("c", None, None),
        ("d", None, "Zag"),
        ("e", None, None),
        ("f", None, None),
    ]
    assert pl.read_parquet(tmp_path / "out/users.parquet").rows() == [("ann",), ("bob",), ("cho",), ("dee",)]
    impressions = pl.read_parquet(tmp_path / "out/impressions.parquet")
    assert impressions.equals(impressions_from_reviews(frame(REVIEWS), seed=0))
    schema = tomllib.loads((tmp_path / "out/schema.toml").read_text())
    assert schema["dataset"]["name"] == "amazon-hand-tools"
    assert [(feature["name"], feature["group"]) for feature in schema["features"]] == [
        ("item_id", "item"),
        ("category", "item"),
        ("brand", "item"),
    ]


def test_packed_files_give_the_same_dataset(raw: Path, tmp_path: Path) -> None:
    prepare_amazon_reviews(raw, tmp_path / "plain")
    for path in list(raw.iterdir()):
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    prepare_amazon_reviews(raw, tmp_path / "packed")
    for name in ("schema.toml", "impressions.parquet", "items.parquet", "users.parquet"):
        assert (tmp_path / "plain" / name).read_bytes() == (tmp_path / "packed" / name).read_bytes()


def test_a_missing_reviews_file_is_refused_with_advice(raw: Path, tmp_path: Path) -> None:
    (raw / "reviews_Hand_Tools_5.json").unlink()
    with pytest.raises(DatasetError, match=r"raw: expected exactly one reviews_\*_5\.json.*found none; put"):
        prepare_amazon_reviews(raw, tmp_path / "out")


def test_two_metadata_files_are_refused_by_name(raw: Path, tmp_path: Path) -> None:
    (raw / "meta_Other.json").touch()
    with pytest.raises(DatasetError, match=r"found meta_Hand_Tools\.json, meta_Other\.json"):
        prepare_amazon_reviews(raw, tmp_path / "out")


@pytest.mark.parametrize(
    "line",
    [
        "{not json",
        "[]",
        '{"reviewerID": "ann", "asin": "a"}',
        '{"reviewerID": "ann", "asin": "a", "unixReviewTime": "1"}',
    ],
)
def test_a_malformed_review_is_named(raw: Path, tmp_path: Path, line: str) -> None:
    with (raw / "reviews_Hand_Tools_5.json").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DatasetError, match=r"reviews_Hand_Tools_5\.json, line 11: expected a JSON object") as caught:
        prepare_amazon_reviews(raw, tmp_path / "out")
    assert line[:10] in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("line", ["{'asin': 'a'", "['asin']", "{'brand': 'Zig'}", "__import__('os').getcwd()"])
def test_a_malformed_metadata_line_is_named(raw: Path, tmp_path: Path, line: str) -> None:
    with (raw / "meta_Hand_Tools.json").open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DatasetError, match=r"meta_Hand_Tools\.json, line 7: expected a Python dict with asin"):
        prepare_amazon_reviews(raw, tmp_path / "out")


def test_a_file_without_reviews_is_refused(raw: Path, tmp_path: Path) -> None:
    (raw / "reviews_Hand_Tools_5.json").write_text("\n")
    with pytest.raises(DatasetError, match="expected reviews.*found none"):
        prepare_amazon_reviews(raw, tmp_path / "out")


def test_a_user_who_reviewed_every_item_is_refused(raw: Path, tmp_path: Path) -> None:
    reviews = [{"reviewerID": "ann", "asin": item, "unixReviewTime": 0} for item in "ab"]
    (raw / "reviews_Hand_Tools_5.json").write_text("".join(json.dumps(review) + "\n" for review in reviews))
    with pytest.raises(DatasetError, match="expected an item that user ann never reviewed.*2 items in the whole file"):
        prepare_amazon_reviews(raw, tmp_path / "out")
