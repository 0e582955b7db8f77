import gzip
from pathlib import Path

import pytest

from dinrank.training.errors import DatasetError
from dinrank.training.prepare.raw_text import open_lines, parse_integers, read_atomic, read_separated

COLUMNS = ("name", "count")


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_a_latin_1_line_break_character_stays_inside_its_field(tmp_path: Path) -> None:
    path = written(tmp_path / "raw", b"caf\xe9\x85bar::1\r\n\nsecond::2\n")
    rows = read_separated(path, separator="::", columns=COLUMNS, encoding="latin-1")
    assert rows.rows() == [(1, "café\x85bar", "1"), (3, "second", "2")]


def test_a_line_with_too_few_fields_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "raw", b"a|1\n\nb\n")
    with pytest.raises(DatasetError, match=r"raw, line 3: expected 2 fields \(name, count\).*found 'b'"):
        read_separated(path, separator="|", columns=COLUMNS, encoding="latin-1")


def test_a_value_that_is_no_whole_number_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "raw", b"a|1\nb|4.0\nc|4.5\n")
    rows = read_separated(path, separator="|", columns=COLUMNS, encoding="latin-1")
    assert parse_integers(rows[:2], path, "count")["count"].to_list() == [1, 4]
    with pytest.raises(DatasetError, match=r"raw, line 3: expected a whole number as count, found '4\.5'"):
        parse_integers(rows, path, "count")


@pytest.mark.parametrize("value", ["nan", "inf", "", "four"])
def test_only_finite_numbers_are_numbers(tmp_path: Path, value: str) -> None:
    path = written(tmp_path / "raw", f"a|{value}\n".encode())
    rows = read_separated(path, separator="|", columns=COLUMNS, encoding="latin-1")
    with pytest.raises(DatasetError, match="line 1: expected a whole number"):
        parse_integers(rows, path, "count")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"absent: expected a raw file, found nothing there"):
        read_separated(tmp_path / "absent", separator="|", columns=COLUMNS, encoding="latin-1")


def test_atomic_columns_are_found_by_name_whatever_their_order(tmp_path: Path) -> None:
    path = written(tmp_path / "x.item", b"extra:token\tcount:float\tname:token_seq\nz\t1\tan apple\n")
    assert read_atomic(path, COLUMNS).rows() == [(2, "an apple", "1")]


def test_a_missing_atomic_column_is_named(tmp_path: Path) -> None:
    path = written(tmp_path / "x.item", b"name:token\nz\n")
    with pytest.raises(DatasetError, match=r"x\.item, line 1: expected a header with name, count.*found 'name:token'"):
        read_atomic(path, COLUMNS)


def test_an_atomic_column_named_twice_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "x.item", b"name:token\tcount:float\tcount:token\na\t1\t2\n")
    with pytest.raises(DatasetError, match="each once"):
        read_atomic(path, COLUMNS)


def test_an_empty_atomic_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="found an empty file"):
        read_atomic(written(tmp_path / "x.item", b""), COLUMNS)


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"x\.item: expected utf-8 text"):
        read_atomic(written(tmp_path / "x.item", b"caf\xe9:token\n"), COLUMNS)


@pytest.mark.parametrize("name", ["raw.json", "raw.json.gz"])
def test_lines_are_numbered_packed_or_not(tmp_path: Path, name: str) -> None:
    content = "first\n\nthird é\n".encode()
    path = written(tmp_path / name, gzip.compress(content) if name.endswith(".gz") else content)
    with open_lines(path) as lines:
        assert list(lines) == [(1, "first\n"), (3, "third é\n")]


def test_a_cut_off_gzip_file_is_refused(tmp_path: Path) -> None:
    packed = gzip.compress(b"".join(b"%d\n" % number for number in range(1000)))
    path = written(tmp_path / "raw.gz", packed[:-20])
    with pytest.raises(DatasetError, match="expected a whole gzip file.*download"), open_lines(path) as lines:
        list(lines)


def test_a_file_that_only_calls_itself_gzip_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "raw.gz", b"plain\n")
    with pytest.raises(DatasetError, match=r"raw\.gz, line 1: expected a whole gzip file"), open_lines(path) as lines:
        list(lines)


def test_bytes_that_are_not_utf_8_are_refused_with_their_line(tmp_path: Path) -> None:
    path = written(tmp_path / "raw", b"fine\ncaf\xe9\n")
    with pytest.raises(DatasetError, match="raw, line 2: expected UTF-8 text"), open_lines(path) as lines:
        list(lines)
