import pytest

from dinrank.training.table.plan import parse_size


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512_000_000), ("2 gib", 2 * 2**30), ("1.5kB", 1500), ("7", 7), ("1 B", 1)]
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "1 megabyte", "1e3", "0", "0.0001kB"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no size; write 512MB"):
        parse_size(text)
