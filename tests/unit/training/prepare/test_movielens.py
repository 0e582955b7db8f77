"""The raw rows are invented. 1,600,000,000 is Sunday, 13 September 2020, 12:26:40 UTC."""

import tomllib
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.training.errors import DatasetError
from dinrank.training.prepare.movielens import impressions_from_ratings, prepare_movielens_1m, prepare_movielens_100k

SUNDAY_NOON = 1_600_000_000
# user, item, rating, seconds after SUNDAY_NOON: not in order, two ratings of user 11 in one second
RATINGS = [(11, 2, 4, 60), (10, 1, 5, 86_400), (11, 1, 3, 60), (11, 3, 5, 0), (2, 2, 1, 0)]
EXPECTED_IMPRESSIONS = [
    ("2", "2", False, 0, "12", "7", "train"),
    ("10", "1", True, 0, "12", "1", "test"),
    ("11", "3", True, 0, "12", "7", "valid"),
    ("11", "2", True, 1, "12", "7", "valid"),
    ("11", "1", False, 1, "12", "7", "valid"),
]
EXPECTED_ITEMS = [
    ("1", ["Adventure", "Sci-Fi"], "1980", "Die Brücke (1989)"),
    ("2", ["Comedy"], "2000", "2001 Wishes (2000)"),
    ("3", [], None, "unknown"),
]


def rating_lines(separator: str) -> str:
    lines = [[user, item, rating, SUNDAY_NOON + offset] for user, item, rating, offset in RATINGS]
    return "".join(separator.join(map(str, line)) + "\n" for line in lines)


def write_recbole(raw: Path) -> None:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (raw / "ml-100k.inter").write_text(header + rating_lines("\t"), encoding="utf-8")
    (raw / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        "1\tDie Brücke\t1989\tAdventure Sci-Fi\n"
        "2\t2001 Wishes (2000)\tV\tComedy\n"
        "3\tunknown\tunknown\tunknown\n",
        encoding="utf-8",
    )
    (raw / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
        "2\t31\tF\tartist\t00001\n10\t7\tM\tstudent\t00002\n11\t64\tF\tretired\t00003\n",
        encoding="utf-8",
    )


def write_grouplens_100k(raw: Path) -> None:
    def flags(*positions: int) -> str:
        return "|".join("1" if index in positions else "0" for index in range(19))

    (raw / "u.data").write_text(rating_lines("\t"), encoding="latin-1")
    (raw / "u.item").write_text(
        f"1|Die Brücke (1989)|01-Jan-1989||http://example.org/|{flags(2, 15)}\n"
        f"2|2001 Wishes (2000)|02-Feb-2000||http://example.org/|{flags(5)}\n"
        f"3|unknown||||{flags(0)}\n",
        encoding="latin-1",
    )
    (raw / "u.user").write_text(
        "2|31|F|artist|00001\n10|7|M|student|00002\n11|64|F|retired|00003\n", encoding="latin-1"
    )


def write_1m(raw: Path) -> None:
    (raw / "ratings.dat").write_text(rating_lines("::"), encoding="latin-1")
    (raw / "movies.dat").write_text(
        "1::Die Brücke (1989)::Adventure|Sci-Fi\n2::2001 Wishes (2000)::Comedy\n3::unknown::\n", encoding="latin-1"
    )
    (raw / "users.dat").write_text(
        "2::F::25::3::00001\n10::M::1::10::00002\n11::F::56::13::00003\n", encoding="latin-1"
    )


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


@pytest.mark.parametrize("write_raw", [write_recbole, write_grouplens_100k])
def test_both_layouts_of_100k_give_the_same_dataset(
    raw: Path, tmp_path: Path, write_raw: Callable[[Path], None]
) -> None:
    write_raw(raw)
    prepare_movielens_100k(raw, tmp_path / "out")
    impressions = pl.read_parquet(tmp_path / "out/impressions.parquet")
    assert impressions.columns == ["user_id", "item_id", "clicked", "timestamp", "hour", "weekday", "split"]
    assert impressions.rows() == EXPECTED_IMPRESSIONS
    items = pl.read_parquet(tmp_path / "out/items.parquet")
    assert items.columns == ["item_id", "genre", "decade", "title"]
    assert items.rows() == EXPECTED_ITEMS
    users = pl.read_parquet(tmp_path / "out/users.parquet")
    assert users.columns == ["user_id", "gender", "age", "occupation"]
    assert users.rows() == [("2", "F", 31, "artist"), ("10", "M", 7, "student"), ("11", "F", 64, "retired")]


def test_1m_keeps_age_as_text(raw: Path, tmp_path: Path) -> None:
    write_1m(raw)
    prepare_movielens_1m(raw, tmp_path / "out")
    assert pl.read_parquet(tmp_path / "out/impressions.parquet").rows() == EXPECTED_IMPRESSIONS
    assert pl.read_parquet(tmp_path / "out/items.parquet").rows() == EXPECTED_ITEMS
    assert pl.read_parquet(tmp_path / "out/users.parquet").rows() == [
        ("2", "F", "25", "3"),
        ("10", "M", "1", "10"),
        ("11", "F", "56", "13"),
    ]


@pytest.mark.parametrize(
    ("write_raw", "prepare", "age"),
    [
        (write_recbole, prepare_movielens_100k, {"name": "age", "group": "user", "kind": "numeric"}),
        (write_1m, prepare_movielens_1m, {"name": "age", "group": "user"}),
    ],
)
def test_the_schema_declares_every_feature_but_the_title(
    raw: Path,
    tmp_path: Path,
    write_raw: Callable[[Path], None],
    prepare: Callable[[Path, Path], None],
    age: dict[str, str],
) -> None:
    write_raw(raw)
    prepare(raw, tmp_path / "out")
    schema = tomllib.loads((tmp_path / "out/schema.toml").read_text(encoding="utf-8"))
    assert schema["features"] == [
        {"name": "item_id", "group": "item"},
        {"name": "genre", "group": "item", "kind": "multi"},
        {"name": "decade", "group": "item"},
        {"name": "gender", "group": "user"},
        age,
        {"name": "occupation", "group": "user"},
        {"name": "hour", "group": "context"},
        {"name": "weekday", "group": "context"},
    ]


@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 30), st.integers(1, 5), st.integers(0, 4)),
        min_size=1,
        max_size=40,
        unique_by=lambda row: row[:2],
    )
)
def test_simultaneous_ratings_and_only_they_share_a_timestamp(rows: list[tuple[int, int, int, int]]) -> None:
    ratings = pl.DataFrame(
        {
            "user_id": [str(row[0]) for row in rows],
            "item_id": [str(row[1]) for row in rows],
            "rating": [row[2] for row in rows],
            "second": [row[3] * 1000 for row in rows],
            "user_number": [row[0] for row in rows],
        }
    )
    impressions = impressions_from_ratings(ratings)
    second_of = {(str(user), str(item)): second for user, item, _, second in rows}
    assert len(impressions) == len(rows)
    for user in {str(row[0]) for row in rows}:
        own = impressions.filter(pl.col("user_id") == user)
        distinct = sorted({second for (owner, _), second in second_of.items() if owner == user})
        assert own["timestamp"].to_list() == [distinct.index(second_of[user, item]) for item in own["item_id"]]
        assert own["timestamp"].is_sorted()
        assert own["split"].n_unique() == 1


def test_a_folder_without_movielens_is_refused_with_advice(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"raw: expected a folder with ml-100k\.inter or u\.data.*fetch_movielens"):
        prepare_movielens_100k(raw, tmp_path / "out")


def test_a_missing_users_file_is_named(raw: Path, tmp_path: Path) -> None:
    write_1m(raw)
    (raw / "users.dat").unlink()
    with pytest.raises(DatasetError, match=r"users\.dat: expected a raw file"):
        prepare_movielens_1m(raw, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_item_listed_twice_is_named(raw: Path, tmp_path: Path) -> None:
    write_1m(raw)
    (raw / "movies.dat").write_text("1::A (1990)::Drama\n2::B (1990)::Drama\n1::C (1990)::Drama\n", encoding="latin-1")
    with pytest.raises(DatasetError, match=r"movies\.dat, line 3: expected each item_id once, found '1'"):
        prepare_movielens_1m(raw, tmp_path / "out")


def test_a_genre_flag_that_is_no_flag_is_named(raw: Path, tmp_path: Path) -> None:
    write_grouplens_100k(raw)
    text = (raw / "u.item").read_text(encoding="latin-1")
    (raw / "u.item").write_text(text.replace("|0\n", "|x\n", 1), encoding="latin-1")
    with pytest.raises(DatasetError, match=r"u\.item, line 1: expected 0 or 1 as the flag of Western, found 'x'"):
        prepare_movielens_100k(raw, tmp_path / "out")


def test_a_rating_that_is_no_number_is_named(raw: Path, tmp_path: Path) -> None:
    write_recbole(raw)
    with (raw / "ml-100k.inter").open("a", encoding="utf-8") as file:
        file.write("2\t3\tgood\t1600000000\n")
    with pytest.raises(DatasetError, match=r"ml-100k\.inter, line 7: expected a whole number as rating, found 'good'"):
        prepare_movielens_100k(raw, tmp_path / "out")


def test_an_occupied_directory_is_refused_before_anything_is_read(raw: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").touch()
    with pytest.raises(DatasetError, match="precious"):
        prepare_movielens_100k(raw, tmp_path / "out")
