import tomllib
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.model.bundle.schema import Group, Kind
from dinrank.training.data.declaration import DeclaredFeature
from dinrank.training.errors import DatasetError
from dinrank.training.prepare import dataset_directory
from dinrank.training.prepare.dataset_directory import staged_directory, write_dataset

IMPRESSIONS = pl.DataFrame({"user_id": ["u"], "item_id": ["i"], "clicked": [True], "timestamp": [0], "hour": ["7"]})
ITEMS = pl.DataFrame({"item_id": ["i"], "genre": [["Comedy"]], "title": ["An invention"]})
USERS = pl.DataFrame({"user_id": ["u"], "age": [40]})
FEATURES = (
    DeclaredFeature("item_id", Group.ITEM),
    DeclaredFeature("genre", Group.ITEM, Kind.MULTI),
    DeclaredFeature("age", Group.USER, Kind.NUMERIC),
    DeclaredFeature("hour", Group.CONTEXT),
)


def write(
    out: Path,
    *,
    source: str = "a test",
    features: tuple[DeclaredFeature, ...] = FEATURES,
    impressions: pl.DataFrame = IMPRESSIONS,
) -> None:
    write_dataset(out, name="tiny", source=source, features=features, impressions=impressions, items=ITEMS, users=USERS)


def test_a_written_dataset_holds_the_frames_and_the_schema(tmp_path: Path) -> None:
    write(tmp_path / "parent" / "tiny")
    out = tmp_path / "parent" / "tiny"
    assert sorted(path.name for path in out.iterdir()) == [
        "impressions.parquet",
        "items.parquet",
        "schema.toml",
        "users.parquet",
    ]
    assert pl.read_parquet(out / "impressions.parquet").equals(IMPRESSIONS)
    assert pl.read_parquet(out / "items.parquet").equals(ITEMS)
    assert pl.read_parquet(out / "users.parquet").equals(USERS)
    assert tomllib.loads((out / "schema.toml").read_text(encoding="utf-8")) == {
        "dataset": {"name": "tiny", "source": "a test"},
        "behaviours": {"max_length": 50},
        "features": [
            {"name": "item_id", "group": "item"},
            {"name": "genre", "group": "item", "kind": "multi"},
            {"name": "age", "group": "user", "kind": "numeric"},
            {"name": "hour", "group": "context"},
        ],
    }


@given(text=st.text())
def test_every_text_survives_schema_toml(text: str) -> None:
    schema = dataset_directory._schema_toml(text, text, ())
    assert tomllib.loads(schema)["dataset"] == {"name": text, "source": text}


@pytest.mark.parametrize("text", ['say "yes"', "back\\slash", "two\nlines", "del\x7f", "tab\t", "é 漢 🙂", "\x00"])
def test_awkward_characters_survive_schema_toml(tmp_path: Path, text: str) -> None:
    write(tmp_path / "tiny", source=text)
    assert tomllib.loads((tmp_path / "tiny/schema.toml").read_bytes().decode("utf-8"))["dataset"]["source"] == text


def test_a_directory_that_holds_something_is_refused_and_kept(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    out.mkdir()
    (out / "precious.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"tiny: expected no directory or an empty one.*precious\.txt.*delete"):
        write(out)
    assert [path.name for path in out.iterdir()] == ["precious.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_file_in_the_way_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "tiny").write_text("mine")
    with pytest.raises(DatasetError, match="found a file; name another directory"):
        write(tmp_path / "tiny")
    assert (tmp_path / "tiny").read_text() == "mine"


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    write(tmp_path / "tiny")
    assert (tmp_path / "tiny" / "schema.toml").is_file()


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="halfway"), staged_directory(tmp_path / "tiny") as staging:
        (staging / "schema.toml").write_text("half")
        raise RuntimeError("halfway")
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    out = tmp_path / "tiny"
    with pytest.raises(DatasetError, match="faster"), staged_directory(out):
        out.mkdir()
        (out / "faster.txt").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_a_declared_feature_without_a_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the user frame lacks height; it has user_id, age"):
        write(tmp_path / "tiny", features=(*FEATURES, DeclaredFeature("height", Group.USER)))
    assert list(tmp_path.iterdir()) == []


def test_impressions_without_a_label_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the context frame lacks clicked"):
        write(tmp_path / "tiny", impressions=IMPRESSIONS.drop("clicked"))
