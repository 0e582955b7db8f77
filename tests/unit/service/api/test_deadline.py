"""The header that says how long the caller waits."""

import math

import pytest

from dinrank.service.api.admission import patience_s
from dinrank.service.errors import MalformedHeader


def header(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", b"application/json"), (b"x-deadline-ms", value)]


def test_without_the_header_the_caller_waits_for_ever() -> None:
    assert patience_s([(b"content-type", b"application/json")]) == math.inf


@pytest.mark.parametrize(
    ("value", "seconds"), [(b"1", 0.001), (b"250", 0.25), (b" 250\t", 0.25), (b"0050", 0.05), (b"86400000", 86_400.0)]
)
def test_whole_milliseconds_up_to_a_day_are_taken(value: bytes, seconds: float) -> None:
    assert patience_s(header(value)) == seconds


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"-1",
        b"+5",
        b"1.5",
        b"1e3",
        b"1_000",
        b"0x10",
        b"soon",
        b"86400001",
        b"9" * 5_000,
        b"5 5",
        b"\xd9\xa3",
    ],
)
def test_anything_else_is_refused_by_the_headers_name(value: bytes) -> None:
    with pytest.raises(MalformedHeader, match="X-Deadline-Ms takes one whole number of milliseconds") as caught:
        patience_s(header(value))
    assert caught.value.field == "X-Deadline-Ms"


def test_two_deadlines_are_refused() -> None:
    with pytest.raises(MalformedHeader):
        patience_s(header(b"5") + header(b"6"))
