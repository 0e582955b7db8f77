"""A team's own logs, from small files to what the trainer reads."""

import gzip
import io
import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from typer.main import get_command

from dinrank.model.bundle.schema import Group, Kind
from dinrank.training.cli import app
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.data.encoded import encode_dataset
from dinrank.training.errors import DatasetError, LogsError
from dinrank.training.prepare.logs.command import LogOptions, prepare_logs
from dinrank.training.prepare.logs.guesses import FEW_VALUES, MANY_VALUES, Guess, Override, guess_columns
from dinrank.training.prepare.logs.table_file import as_values

CLICKS = """uid,ad,label,when,hour,position,split,bid
u1,007,1,2026-03-01T10:00:00Z,10,1,train,0.5
u1,8,0,2026-03-01T10:00:00Z,10,2,train,1
u2,007,true,2026-03-01T11:30:00+01:00,11,1,train,0.5
u2,9,FALSE,2026-03-02 09:00:00Z,9,2,valid,2
u1,8,1,2026-03-03T09:15Z,9,1,test,1.25
"""
ITEMS = """item_id,title,genre,price
007,"Goggles, blue",sport| swim,9.5
8,Cap,swim,
9,Bath,swim||sport,3
10,Milk,,1.25
"""
USERS = "user_id,gender\nu1,f\nu2,m\n"
RENAMES = {"uid": "user_id", "ad": "item_id", "label": "clicked", "when": "timestamp"}


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


def write(folder: Path, **texts: str) -> dict[str, Any]:
    """A CSV file of each text, by option."""
    files = {name: folder / f"{name}.csv" for name in texts}
    for name, text in texts.items():
        files[name].write_text(text, encoding="utf-8")
    return files


def prepared(folder: Path, **options: Any) -> Dataset:
    prepare_logs(LogOptions(**options), folder / "out", quiet())
    return read_dataset(folder / "out")


def test_csv_files_become_a_dataset_that_can_be_encoded(tmp_path: Path) -> None:
    files = write(tmp_path, impressions=CLICKS, items=ITEMS, users=USERS)
    dataset = prepared(tmp_path, **files, renames=RENAMES)
    declared = [(feature.name, feature.group, feature.kind) for feature in dataset.features]
    assert declared == [
        ("item_id", Group.ITEM, Kind.SINGLE),
        ("genre", Group.ITEM, Kind.MULTI),
        ("price", Group.ITEM, Kind.NUMERIC),
        ("gender", Group.USER, Kind.SINGLE),
        ("hour", Group.CONTEXT, Kind.SINGLE),
        ("position", Group.CONTEXT, Kind.SINGLE),
    ]
    rows = dataset.impressions
    assert rows["item_id"].to_list() == ["007", "8", "007", "9", "8"]
    assert rows["bid"].to_list() == [0.5, 1.0, 0.5, 2.0, 1.25]  # no feature, but what a replay reads
    assert rows["clicked"].to_list() == [True, False, True, False, True]
    first, third, last = rows["timestamp"][0], rows["timestamp"][2], rows["timestamp"][4]
    assert (first, third, last) == (
        datetime(2026, 3, 1, 10),  # noqa: DTZ001  # UTC, kept without saying so
        datetime(2026, 3, 1, 10, 30),  # noqa: DTZ001
        datetime(2026, 3, 3, 9, 15),  # noqa: DTZ001
    )
    assert dataset.items["genre"].to_list() == [["sport", "swim"], ["swim"], ["swim", "sport"], None]
    assert dataset.behaviours["item_id"].to_list() == ["007", "007", "8"]
    assert pl.read_parquet(tmp_path / "out" / "items.parquet")["title"].to_list()[0] == "Goggles, blue"
    assert encode_dataset(dataset, min_count=1).encoder.catalogue.row("007") > 1


@pytest.mark.parametrize("suffix", [".csv.gz", ".gz"])
def test_a_compressed_csv_is_read_too(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"clicks{suffix}"
    file.write_bytes(gzip.compress(CLICKS.encode()))
    assert prepared(tmp_path, impressions=file, renames=RENAMES).impressions["hour"].to_list() == [10, 10, 11, 9, 9]


def test_columns_of_the_log_can_describe_items_and_users(tmp_path: Path) -> None:
    log = (
        "user_id,item_id,clicked,timestamp,brand,country,split\n"
        "u1,a,1,3,new,ch,train\nu1,a,0,1,old,ch,valid\nu2,b,0,2,x,,test\nu2,b,1,9,,de,test\nu3,a,0,20,new,,test\n"
    )
    dataset = prepared(tmp_path, **write(tmp_path, impressions=log), item_columns=["brand"], user_columns=["country"])
    assert [(feature.name, feature.group) for feature in dataset.features] == [
        ("item_id", Group.ITEM),
        ("brand", Group.ITEM),
        ("country", Group.USER),
    ]
    assert dict(dataset.items.iter_rows()) == {"a": "new", "b": "x"}  # the newest that is there
    assert dict(dataset.users.iter_rows()) == {"u1": "ch", "u2": "de", "u3": None}


def test_behaviours_of_their_own_share_the_clock_of_the_impressions(tmp_path: Path) -> None:
    log = "user_id,item_id,clicked,timestamp\n" + "".join(f"u,i{n},{n % 2},{n}\n" for n in range(1, 20))
    behaviours = "user_id,item_id,timestamp\nu,i1,0.5\nu,elsewhere,7\n"
    dataset = prepared(tmp_path, **write(tmp_path, impressions=log, behaviours=behaviours))
    assert dataset.behaviours.rows() == [("u", "i1", 0.5), ("u", "elsewhere", 7.0)]
    assert dataset.impressions["timestamp"].dtype == pl.Float64


def test_a_wish_overrides_the_guess_and_the_schema_can_be_edited(tmp_path: Path) -> None:
    files = write(tmp_path, impressions=CLICKS, items=ITEMS)
    wishes = {"hour": Override(Kind.NUMERIC), "position": Override(None), "genre": Override(Kind.SINGLE)}
    dataset = prepared(tmp_path, **files, renames=RENAMES, wishes=wishes)
    kinds = {feature.name: feature.kind for feature in dataset.features}
    assert kinds == {"item_id": Kind.SINGLE, "genre": Kind.SINGLE, "price": Kind.NUMERIC, "hour": Kind.NUMERIC}
    assert "position" not in dataset.impressions.columns
    schema = tmp_path / "out" / "schema.toml"
    schema.write_text(schema.read_text(encoding="utf-8").replace("numeric", "single"), encoding="utf-8")
    assert {feature.kind for feature in read_dataset(tmp_path / "out").features} == {Kind.SINGLE}


def test_what_was_left_out_stands_in_the_schema_as_a_comment(tmp_path: Path) -> None:
    rows = "".join(f"u,i{n % 7},{n % 2},{n},s{n}\n" for n in range(300))
    prepared(tmp_path, **write(tmp_path, impressions="user_id,item_id,clicked,timestamp,session\n" + rows))
    schema = tmp_path / "out" / "schema.toml"
    text = schema.read_text(encoding="utf-8")
    assert '# [[features]]  # left out: nearly every row has its own: 300 different ones\n# name = "session"' in text
    schema.write_text(re.sub(r"^# ", "", text, flags=re.MULTILINE), encoding="utf-8")
    assert [feature.name for feature in read_dataset(tmp_path / "out").features] == ["item_id", "session"]


def guess(values: list[Any], *, name: str = "column", group: Group = Group.ITEM) -> Guess:
    [found] = guess_columns(group, pl.DataFrame({name: values}), {}, taken={"theirs"})
    return found


@pytest.mark.parametrize(
    ("name", "values", "kind", "reason"),
    [
        ("x", ["a", "b", None], Kind.SINGLE, "text, 2 different values"),
        ("x", ["01", "02", "03"], Kind.SINGLE, "text, 3 different values"),  # a number has no leading zero
        ("x", ["1", "2", ""], Kind.SINGLE, "whole numbers, only 2"),
        ("x", [str(number) for number in range(FEW_VALUES + 1)], Kind.NUMERIC, "whole numbers, 51"),
        ("shop_id", list(range(FEW_VALUES + 1)), Kind.SINGLE, "ids, 51"),
        ("x", ["1.5", "2", "-3e-2"], Kind.NUMERIC, "numbers with fractions"),
        ("x", [1.0, 2.0, math.nan], Kind.SINGLE, "whole numbers, only 2"),
        ("x", ["True", "false", ""], Kind.SINGLE, "true and false"),
        ("x", [["a"], ["b", "c"]], Kind.MULTI, "lists"),
        ("x", ["a;b", "b", "a", "a;c", "c"], Kind.MULTI, "';' between values"),
        ("x", ["either|or", "this|that"], Kind.SINGLE, "text, 2"),  # the parts never recur
        ("x", ["12345678901234567890123", "2"], Kind.SINGLE, "text, 2"),  # too long for a number
        ("x", ["same", "same"], None, "every row has the same"),
        ("x", [None, None], None, "no row has a value"),
        ("x", ["2026-01-01", "2026-01-02 10:00"], None, "a date"),
        ("x", [date(2026, 1, 1), date(2026, 1, 2)], None, "a date"),
        ("x", [f"t{number}" for number in range(MANY_VALUES + 1)], None, "nearly every row has its own"),
        ("x", [{"a": 1}, {"a": 2}], None, "is no text, number or list"),
        ("x", [[["a"]], [["b"]]], None, "is no text, number or list"),
        ("film genre", ["a", "b"], None, "--map some_name='film genre'"),
        ("theirs", ["a", "b"], None, "another table has a feature of this name"),
        ("title", ["a", "b"], None, "kept: a title to show"),
    ],
)
def test_a_columns_kind_is_guessed_from_its_values(
    name: str, values: list[Any], kind: Kind | None, reason: str
) -> None:
    found = guess(values, name=name)
    assert found.kind is kind
    assert reason in found.reason


def test_text_with_leading_zeros_is_numeric_when_the_user_says_so() -> None:
    table = pl.DataFrame({"x": ["007", None, "10"]})
    [found] = guess_columns(Group.ITEM, table, {"x": Override(Kind.NUMERIC)}, taken=set())
    assert found.values is not None
    assert (found.kind, found.values.to_list()) == (Kind.NUMERIC, [7.0, None, 10.0])


def test_titles_that_are_numbers_stay_text() -> None:
    found = guess(["1984", "300"], name="title")
    assert found.values is not None
    assert found.values.to_list() == ["1984", "300"]


GOOD = "user_id,item_id,clicked,timestamp\nu,i,1,1\nu,j,0,2\n"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"impressions": GOOD.replace("clicked", "click")}, "expected a column clicked.*--map clicked=click"),
        ({"impressions": GOOD.replace("user_id", "who")}, "expected a column user_id.*--map user_id=COLUMN"),
        ({"impressions": GOOD.replace(",", ";")}, "--separator ';'"),
        ({"impressions": GOOD.replace("j,0", "j,maybe")}, "clicked, found 'maybe' in row 2, not counting the header"),
        ({"impressions": GOOD.replace("j,0", "j,2")}, "found '2' in row 2.*1 or true"),
        ({"impressions": GOOD.replace("j,0", "j,")}, "found nothing in row 2"),
        ({"impressions": GOOD.replace("u,j", ",j")}, "a user_id in every row, found nothing in row 2"),
        ({"impressions": GOOD.replace("0,2", "0,soon")}, "timestamp, found 'soon' in row 2.*seconds since 1970"),
        (
            {"impressions": GOOD.replace("1,1", "1,2026-02-30").replace("0,2", "0,2026-02-28")},
            "found '2026-02-30' in row 1, not counting the header;",
        ),
        (
            {"impressions": GOOD.replace("1,1", "1,2026-02-01T10:00").replace("0,2", "0,2026-02-01T10:00Z")},
            "an offset in every timestamp, as some have one, found '2026-02-01T10:00' in row 1",
        ),
        ({"impressions": "user_id,item_id,clicked,timestamp\n"}, "expected rows, found none"),
        ({"impressions": ""}, "found an empty file"),
        ({"impressions": GOOD + "u,k,1,3,4\n"}, "expected a CSV or Parquet file, found more fields"),
        ({"impressions": GOOD + "u,k,1,3,4,5\n"}, "as many fields in each line as in the header"),
        ({"impressions": GOOD, "items": "item_id,x\ni,1\nj,2\ni,3\n"}, "each item_id once, found 'i' in row 3"),
        ({"impressions": GOOD, "items": "item_id,x\nI1,1\n"}, "'i' for instance, found others alone, 'I1'"),
        ({"impressions": GOOD, "behaviours": "user_id,item_id,timestamp\nu,i,2026-01-01\n"}, "found dates; write both"),
        ({"impressions": GOOD}, "rows to train, validate and test on"),
    ],
)
def test_what_cannot_be_right_is_refused_with_the_row_and_what_to_do(
    texts: Mapping[str, str], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=said):
        prepared(tmp_path, **write(tmp_path, **texts))
    assert not (tmp_path / "out").exists()


def test_the_column_that_is_suggested_has_the_name_of_the_file(tmp_path: Path) -> None:
    files = write(tmp_path, impressions=GOOD.replace("user_id", "reader"))
    with pytest.raises(DatasetError, match="only userid, .*--map user_id=reader"):
        prepared(tmp_path, **files, renames={"reader": "userid"})


def test_a_renamed_column_that_is_not_found_may_be_for_want_of_the_separator(tmp_path: Path) -> None:
    files = write(tmp_path, impressions=GOOD.replace(",", ";"))
    with pytest.raises(LogsError, match="no file has a column reader.*--separator ';'"):
        prepared(tmp_path, **files, renames={"reader": "user_id"})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"renames": {"absent": "user_id"}}, "--map: no file has a column absent; there are bid, clicked"),
        ({"renames": {"clicked": "item_id"}}, "would give two columns item_id"),
        ({"wishes": {"absent": Override(Kind.SINGLE)}}, "no file has a column absent"),
        ({"wishes": {"x": Override(Kind.NUMERIC)}}, "--feature x=numeric: 'a' is no number; single is for text"),
        ({"wishes": {"x": Override(Kind.MULTI)}}, "--multi 'x:|' cuts"),
        ({"wishes": {"bid": Override(Kind.NUMERIC)}}, "rename it with --map"),
        ({"wishes": {"item_id": Override(None)}}, "no column describes the items"),
        ({"item_columns": ["absent"]}, "--item-column absent: the impressions have no such column"),
        ({"item_columns": ["bid"]}, "belongs to the impression"),
    ],
)
def test_an_option_that_does_not_fit_the_files_is_refused(options: Any, said: str, tmp_path: Path) -> None:
    log = "user_id,item_id,clicked,timestamp,x,bid\n" + "".join(f"u,i,{n % 2},{n},{'ab'[n % 2]},1\n" for n in range(20))
    with pytest.raises(LogsError, match=re.escape(said) if "|" in said else said):
        prepared(tmp_path, **write(tmp_path, impressions=log), **options)


def test_the_command_prints_every_guess_and_what_comes_next(tmp_path: Path) -> None:
    files = write(tmp_path, impressions=CLICKS, items=ITEMS)
    renames = [f"--map={new}={old}" for old, new in RENAMES.items()]
    command = ["prepare", "logs", "--impressions", files["impressions"], "--items", files["items"], *renames]
    more = ["--multi", "genre:|", "--feature", "position=none", tmp_path / "shop"]
    result = CliRunner().invoke(get_command(app), [*map(str, command), *map(str, more)], terminal_width=200)
    assert result.exit_code == 0, result.output
    printed = re.sub(r"\s+", " ", result.output)
    assert all(guess in printed for guess in ("numbers with fractions", "cut at '|'", "kept: a title to show"))
    assert "5 impressions of 2 users and 3 items, 60.00% clicked" in printed
    assert "python -m training train --data" in printed


@pytest.mark.parametrize(
    "wrong", [["--map", "user_id"], ["--feature", "x=many"], ["--multi", "genre"], ["--separator", "||"]]
)
def test_a_malformed_option_is_explained(wrong: list[str]) -> None:
    result = CliRunner().invoke(get_command(app), ["prepare", "logs", "--impressions", "x.csv", *wrong, "out"])
    assert result.exit_code == 2
    assert wrong[0] in result.output


# --- CSV and Parquet agree. ---

WORDS = st.text(st.sampled_from("aB1.0;|é, \"'-\n"), max_size=4)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
COLUMNS: tuple[tuple[st.SearchStrategy[Any], Any], ...] = (
    (WORDS, pl.String),
    (st.integers(-(2**53), 2**53), pl.Int64),
    (st.integers(0, 3), pl.Int16),
    (NUMBERS, pl.Float64),
    (st.booleans(), pl.Boolean),
    (st.dates(date(1990, 1, 1), date(2030, 1, 1)), pl.Date),
    (st.sampled_from(["x", "y z"]), pl.Categorical),
)
TIMES: tuple[tuple[st.SearchStrategy[Any], Any], ...] = (
    (st.integers(0, 9), pl.Int64),
    (st.floats(0, 9, width=16), pl.Float64),
    (st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)), pl.Datetime("us")),  # noqa: DTZ001
)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    size = draw(st.integers(10, 14))
    times, time_type = draw(st.sampled_from(TIMES))

    def column(values: st.SearchStrategy[Any], dtype: Any) -> pl.Series:
        return pl.Series(draw(st.lists(values, min_size=size, max_size=size)), dtype=dtype)

    table = {
        "user_id": column(st.integers(0, 3), pl.Int32),
        "item_id": column(st.sampled_from(["a", "b ", "7", "07"]), pl.String),
        "clicked": column(*draw(st.sampled_from([(st.booleans(), pl.Boolean), (st.integers(0, 1), pl.Float64)]))),
        "timestamp": column(st.integers(0, 0), pl.Int64) if draw(st.booleans()) else column(times, time_type),
        "split": pl.Series((["train", "valid", "test"] * 5)[:size]),
    }
    for number in range(draw(st.integers(0, 3))):
        values, dtype = draw(st.sampled_from(COLUMNS))
        table[f"c{number}"] = column(st.none() | values, dtype)
    return pl.DataFrame(table)


@settings(max_examples=20)
@given(table=tables())
def test_csv_and_parquet_of_one_table_give_one_dataset(
    table: pl.DataFrame, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("both")
    table.write_csv(folder / "log.csv")
    table.write_parquet(folder / "log.parquet")
    found = []
    for name in ("log.csv", "log.parquet"):
        prepare_logs(LogOptions(folder / name, name="both"), folder / f"{name}.out", quiet())
        found.append(read_dataset(folder / f"{name}.out"))
    from_csv, from_parquet = found
    assert from_csv.features == from_parquet.features
    for part in ("impressions", "behaviours", "items", "users"):
        one, other = getattr(from_csv, part), getattr(from_parquet, part)
        assert one.schema == other.schema
        assert one.equals(other)


def test_a_moment_is_the_same_in_whatever_zone_it_is_written(tmp_path: Path) -> None:
    """Parquet with a zone, in another unit, and text with an offset."""
    here = timezone(timedelta(hours=2))
    moments = [datetime(2026, 3, 1 + day, 12, 0, 5, 250_000, tzinfo=here) for day in range(20)]
    rows = {"user_id": ["u"] * 20, "item_id": ["i"] * 20, "clicked": [0, 1] * 10}
    zoned = pl.DataFrame(
        rows | {"timestamp": pl.Series(moments).dt.convert_time_zone("Asia/Tokyo").dt.cast_time_unit("ns")}
    )
    zoned.write_parquet(tmp_path / "log.parquet")
    pl.DataFrame(rows | {"timestamp": [moment.isoformat() for moment in moments]}).write_csv(tmp_path / "log.csv")
    (tmp_path / "csv").mkdir()
    in_utc = [moment.astimezone(UTC).replace(tzinfo=None) for moment in moments]
    assert prepared(tmp_path, impressions=tmp_path / "log.parquet").impressions["timestamp"].to_list() == in_utc
    assert prepared(tmp_path / "csv", impressions=tmp_path / "log.csv").impressions["timestamp"].to_list() == in_utc


@given(values=st.lists(st.none() | st.sampled_from(["1", "-2", "0", "3.5", "1e3", "007", "true", "", "nan", "x"])))
def test_text_is_a_number_only_when_its_token_stays_the_same(values: list[str | None]) -> None:
    """What a request sends as text must meet what the trainer saw: 007 is not 7."""
    found = as_values(pl.Series(values, dtype=pl.String))
    assert found is not None
    if found.dtype == pl.Int64:
        given_values = [float(value) for value in values if value]
        assert [value for value in found.to_list() if value is not None] == given_values
        assert "007" not in values
