from pathlib import Path

import polars as pl
import pytest

from dinrank.model.bundle.schema import Group, Kind
from dinrank.training.data.dataset import Dataset, DeclaredFeature, read_dataset
from dinrank.training.data.declaration import MAX_VALUES
from dinrank.training.errors import DatasetError
from tests.fixtures.dataset import SCHEMA_TOML, invented_tables, write_dataset_directory

ITEM_ID_ALONE = """
[dataset]
name = "plain"
[behaviours]
max_length = 3
[[features]]
name = "item_id"
group = "item"
"""


def impressions(**columns: object) -> pl.DataFrame:
    """Ten impressions of one user, one a second; `columns` replace or add to theirs."""
    plain = {
        "user_id": ["u"] * 10,
        "item_id": [f"i{row}" for row in range(10)],
        "clicked": [True, False] * 5,
        "timestamp": list(range(10)),
    }
    return pl.DataFrame(plain | columns)


def read(path: Path, tables: dict[str, pl.DataFrame] | None = None, *, schema: str = ITEM_ID_ALONE) -> Dataset:
    all_tables = {"impressions": impressions()} | (tables or {})
    return read_dataset(write_dataset_directory(path / "data", all_tables, schema=schema))


def test_the_invented_dataset_is_read_as_it_was_written(dataset: Dataset) -> None:
    tables = invented_tables()
    assert (dataset.name, dataset.source, dataset.max_behaviours) == ("invented", "tests/fixtures/dataset.py", 5)
    assert dataset.features[:3] == (
        DeclaredFeature("item_id", Group.ITEM, Kind.SINGLE, MAX_VALUES),
        DeclaredFeature("category", Group.ITEM, Kind.SINGLE, MAX_VALUES),
        DeclaredFeature("tags", Group.ITEM, Kind.MULTI, 2),
    )
    assert [feature.name for feature in dataset.group(Group.CONTEXT)] == ["hour", "places", "position"]
    assert dataset.items.equals(tables["items"].drop("title"))
    assert dataset.users.equals(tables["users"])
    assert dataset.impressions["clicked"].cast(pl.Int64).equals(tables["impressions"]["clicked"])
    assert dataset.split_rule == "by time, 80/10/10"


def test_without_a_behaviours_file_behaviours_are_the_clicks_in_file_order(dataset: Dataset) -> None:
    rows = invented_tables()["impressions"].select("user_id", "item_id", "timestamp", "clicked").rows()
    assert dataset.behaviours.columns == ["user_id", "item_id", "timestamp"]
    assert dataset.behaviours.rows() == [row[:3] for row in rows if row[3]]


def test_a_behaviours_file_replaces_the_clicks(tmp_path: Path) -> None:
    behaviours = pl.DataFrame({"user_id": ["u"], "item_id": ["seen"], "timestamp": [5], "place": ["shop"]})
    assert read(tmp_path, {"behaviours": behaviours}).behaviours.rows() == [("u", "seen", 5)]


def test_a_given_split_is_kept_and_named(tmp_path: Path) -> None:
    split = ["history", *["train"] * 7, "valid", "test"]
    read_back = read(tmp_path, {"impressions": impressions(split=split)})
    assert read_back.impressions["split"].to_list() == split
    assert read_back.split_rule == "as given in the column split"


@pytest.mark.parametrize("number", [int, float])
def test_numbers_as_ids_become_the_tokens_of_the_service(tmp_path: Path, number: type) -> None:
    """In every file alike; floats are what integers become where a column had gaps once."""
    user, items = number(7), [number(item) for item in range(10)]
    tables = {
        "impressions": impressions(user_id=[user] * 10, item_id=items),
        "behaviours": pl.DataFrame({"user_id": [user], "item_id": [items[3]], "timestamp": [5]}),
        "items": pl.DataFrame({"item_id": items}),
        "users": pl.DataFrame({"user_id": [user]}),
    }
    read_back = read(tmp_path, tables)
    assert read_back.impressions.select("user_id", "item_id").row(2) == ("7", "2")
    assert read_back.behaviours.row(0) == ("7", "3", 5)
    assert read_back.items["item_id"].to_list() == [str(item) for item in range(10)]
    assert read_back.users["user_id"].to_list() == ["7"]


def test_labels_of_0_and_1_are_clicks(tmp_path: Path) -> None:
    read_back = read(tmp_path, {"impressions": impressions(clicked=[1, 0] * 5)})
    assert read_back.impressions["clicked"].to_list() == [True, False] * 5


def test_without_attributes_the_files_of_items_and_users_may_be_missing(tmp_path: Path) -> None:
    read_back = read(tmp_path)
    assert read_back.items.is_empty() and read_back.users.is_empty()


BY_FILE: dict[str, dict[str, pl.DataFrame]] = {
    r"impressions\.parquet: expected the columns clicked, timestamp, found": {
        "impressions": impressions().drop("clicked", "timestamp")
    },
    r"impressions\.parquet: expected impressions, found no row": {"impressions": impressions().clear()},
    r"impressions\.parquet: expected a value in every row of item_id, found nulls": {
        "impressions": impressions(item_id=[None, *"abcdefghi"])
    },
    r"impressions\.parquet: expected a value in every row of user_id, found nulls": {
        "impressions": impressions(user_id=[float("nan")] + [1.0] * 9)
    },
    r"impressions\.parquet: expected a value in every row of clicked, found nulls": {
        "impressions": impressions(clicked=[None] + [True] * 9)
    },
    r"impressions\.parquet: expected clicked to be true or false, or 0 and 1, found Int64": {
        "impressions": impressions(clicked=[2] + [0] * 9)
    },
    r"impressions\.parquet: expected clicked to be true or false, or 0 and 1, found String": {
        "impressions": impressions(clicked=["yes"] * 10)
    },
    r"impressions\.parquet: expected split to be one of history, train, valid, test, found .*holdout": {
        "impressions": impressions(split=["train"] * 8 + ["valid", "holdout"])
    },
    r"impressions\.parquet: expected rows to train, validate and test on, found none of test, valid": {
        "impressions": impressions(split=["train"] * 10)
    },
    r"impressions\.parquet: expected rows to train, validate and test on, found none of train, valid": {
        "impressions": impressions(timestamp=[1] * 10)
    },
    r"behaviours\.parquet: expected the columns timestamp, found user_id, item_id": {
        "behaviours": pl.DataFrame({"user_id": ["u"], "item_id": ["i"]})
    },
    r"behaviours\.parquet: expected timestamp as in impressions\.parquet, Int64, found Float64": {
        "behaviours": pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "timestamp": [1.0]})
    },
    r"behaviours\.parquet: expected a value in every row of timestamp, found nulls": {
        "behaviours": pl.DataFrame({"user_id": ["u"] * 2, "item_id": ["i"] * 2, "timestamp": [None, 1]})
    },
    r"items\.parquet: expected each item_id once, found nulls or duplicates": {
        "items": pl.DataFrame({"item_id": ["a", "b", "a"]})
    },
    r"users\.parquet: expected each user_id once, found nulls or duplicates": {
        "users": pl.DataFrame({"user_id": ["a", None]})
    },
}


@pytest.mark.parametrize(("message", "tables"), BY_FILE.items(), ids=range(len(BY_FILE)))
def test_a_table_that_cannot_be_used_is_refused(tmp_path: Path, message: str, tables: dict[str, pl.DataFrame]) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, tables)


BY_SCHEMA = {
    r"schema\.toml: expected TOML": "[dataset",
    r"schema\.toml: expected a section \[dataset\]": ITEM_ID_ALONE.replace("[dataset]", "[data]"),
    r"schema\.toml: expected a section \[behaviours\]": ITEM_ID_ALONE.replace("[behaviours]", "[behaviour]"),
    r"schema\.toml: expected a section \[features\]": ITEM_ID_ALONE.replace("[[features]]", "[[feature]]"),
    r"schema\.toml: expected a positive max_length in \[behaviours\], found None": (
        ITEM_ID_ALONE.replace("max_length", "length")
    ),
    r"schema\.toml: expected a positive max_length in \[behaviours\], found 'five'": (
        ITEM_ID_ALONE.replace("max_length = 3", 'max_length = "five"')
    ),
    r"schema\.toml: expected a section \[\[features\]\] per feature": (
        ITEM_ID_ALONE.replace("[[features]]", "[features]")
    ),
    r"schema\.toml: expected features that fit together, found features are named twice: item_id": (
        ITEM_ID_ALONE + '[[features]]\nname = "item_id"\ngroup = "item"\n'
    ),
    r"schema\.toml: expected features that fit together, found a schema needs at least one item feature": (
        ITEM_ID_ALONE.replace('"item_id"', '"hour"').replace('"item"', '"context"')
    ),
    r"schema\.toml: expected features that fit together, found item_id must be": ITEM_ID_ALONE + 'kind = "multi"\n',
    r"schema\.toml: expected a feature with name, group, kind and max_values, found .*'kinds'": (
        ITEM_ID_ALONE + 'kinds = "single"'
    ),
    r"schema\.toml: expected a feature with name, group": ITEM_ID_ALONE.replace('name = "item_id"', ""),
    r"schema\.toml: expected a known group and kind of 'item_id', found 'ad'": ITEM_ID_ALONE.replace('"item"', '"ad"'),
    r"schema\.toml: expected a known group and kind of 'item_id', found 'text'": ITEM_ID_ALONE + 'kind = "text"',
}


@pytest.mark.parametrize(("message", "schema"), BY_SCHEMA.items(), ids=range(len(BY_SCHEMA)))
def test_a_schema_that_cannot_be_used_is_refused(tmp_path: Path, message: str, schema: str) -> None:
    with pytest.raises(DatasetError, match=message):
        read(tmp_path, schema=schema)


@pytest.mark.parametrize(("line", "rate"), [("", 1.0), ("negative_sampling_rate = 0.1", 0.1)])
def test_the_rate_of_kept_negatives_is_1_unless_schema_toml_says_otherwise(
    tmp_path: Path, line: str, rate: float
) -> None:
    schema = ITEM_ID_ALONE.replace('name = "plain"', f'name = "plain"\n{line}')
    assert read(tmp_path, schema=schema).negative_sampling_rate == rate


@pytest.mark.parametrize("rate", ["0", "-0.5", "1.01", "nan", "true", "'0.1'"])
def test_a_rate_that_is_no_share_is_refused(tmp_path: Path, rate: str) -> None:
    schema = ITEM_ID_ALONE.replace('name = "plain"', f"negative_sampling_rate = {rate}")
    with pytest.raises(DatasetError, match=r"expected a negative_sampling_rate above 0 and at most 1 in \[dataset\]"):
        read(tmp_path, schema=schema)


def test_a_misspelt_rate_is_refused_and_not_taken_for_1(tmp_path: Path) -> None:
    schema = ITEM_ID_ALONE.replace('name = "plain"', "negative_sample_rate = 0.1")
    with pytest.raises(DatasetError, match="only name, negative_sampling_rate, source, found negative_sample_rate"):
        read(tmp_path, schema=schema)


@pytest.mark.parametrize("file", ["schema.toml", "impressions.parquet", "items.parquet", "users.parquet"])
def test_a_missing_file_is_named(tmp_path: Path, file: str) -> None:
    path = write_dataset_directory(tmp_path / "data")
    (path / file).unlink()
    with pytest.raises(DatasetError, match=rf"{file}: expected a .*, found no file"):
        read_dataset(path)


def test_a_file_that_is_no_parquet_is_refused(tmp_path: Path) -> None:
    path = write_dataset_directory(tmp_path / "data")
    (path / "items.parquet").write_text("item_id,category\n")
    with pytest.raises(DatasetError, match=r"items\.parquet: expected a Parquet file"):
        read_dataset(path)


def test_a_declared_attribute_without_a_column_is_refused(tmp_path: Path) -> None:
    tables = invented_tables()
    tables["users"] = tables["users"].drop("age")
    with pytest.raises(DatasetError, match=r"users\.parquet: expected the columns age, found user_id, gender"):
        read_dataset(write_dataset_directory(tmp_path / "data", tables, schema=SCHEMA_TOML))
