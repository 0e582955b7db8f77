"""What a log line looks like, whatever a caller sent."""

import json
import logging
import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.service.telemetry.logs import (
    LOGGER_NAME,
    Event,
    JsonFormatter,
    TextFormatter,
    configure_logging,
    current_request_id,
    log_event,
)
from tests.fixtures.log_settings import log_settings_kept

NASTY = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=())),  # half surrogate pairs too
    st.sampled_from(
        ['"}\n{"level":"error"', "\r\n2026-11-22 ERROR [1] forged", "\x00\x1b[2J", "\u2028\u2029\x85", "\ud800"]
    ),
)


def record(message: object, *arguments: object, exception: Exception | None = None) -> logging.LogRecord:
    found = (type(exception), exception, exception.__traceback__) if exception else None
    return logging.LogRecord("uvicorn.error", logging.WARNING, __file__, 1, message, arguments, found)


def written(line: logging.LogRecord) -> dict[str, object]:
    text = JsonFormatter().format(line)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    parsed: dict[str, object] = json.loads(text)
    return parsed


@pytest.fixture
def of_request() -> Iterator[str]:
    """While a request is being answered."""
    token = current_request_id.set("r-7")
    yield "r-7"
    current_request_id.reset(token)


def test_an_event_is_one_json_object() -> None:
    line = written(record(Event("degraded", {"parts": 2, "share": 0.5, "is_new": True, "error": "gone"})))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(line.pop("time")))
    assert line == {
        "level": "warning",
        "event": "degraded",
        "process": os.getpid(),
        "parts": 2,
        "share": 0.5,
        "is_new": True,
        "error": "gone",
    }


def test_the_time_is_the_records_in_utc() -> None:
    line = record("x")
    line.created = 951_782_400.25  # 29 February 2000, midnight in Greenwich
    assert written(line)["time"] == "2000-02-29T00:00:00.250Z"


def test_a_line_that_is_not_the_services_own_keeps_its_message() -> None:
    line = written(record("Started server process [%d]", 7))
    assert (line["event"], line["message"]) == ("uvicorn", "Started server process [7]")


@given(text=NASTY)
def test_nothing_that_a_caller_sent_ends_the_line_or_forges_a_field(text: str) -> None:
    event = written(record(Event("degraded", {"request_id": text, "error": text})))
    assert set(event) == {"time", "level", "event", "process", "request_id", "error"}
    assert (event["level"], event["event"]) == ("warning", "degraded")
    message = written(record("%s", text))
    assert set(message) == {"time", "level", "event", "process", "message"}
    expected = text.encode("utf-8", "backslashreplace").decode()
    assert event["error"] == message["message"] == expected


@given(text=NASTY)
def test_in_text_only_an_entry_begins_at_a_lines_start(text: str) -> None:
    entry = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING \[\d+\] "
    for line in (record("%s", text), record(Event("degraded", {"error": text})), record("x", exception=raised(text))):
        first, *others = TextFormatter().format(line).splitlines()
        assert re.match(entry, first)
        assert all(other.startswith("  ") for other in others)


def raised(text: str) -> Exception:
    try:
        raise ValueError(text)
    except ValueError as exc:
        return exc


def test_a_traceback_is_one_field() -> None:
    line = written(record("Exception in ASGI application", exception=raised("bad\nthing")))
    trace = str(line["exception"])
    assert trace.startswith("Traceback (most recent call last):\n")
    assert trace.endswith("ValueError: bad\nthing\n")


def test_a_very_long_value_loses_its_middle() -> None:
    text = str(written(record(Event("x", {"error": "a" * 5_000 + "b" * 2_000_000 + "c" * 5_000})))["error"])
    assert len(text) < 9_000
    assert text.startswith("a" * 4_000)
    assert text.endswith("c" * 4_000)
    assert "2002000 characters" in text


def test_a_number_that_json_lacks_is_written_as_text() -> None:
    assert written(record(Event("x", {"ctr": float("nan")})))["ctr"] == "nan"


def test_every_line_of_a_request_has_its_id(of_request: str) -> None:
    assert written(record("uvicorn's"))["request_id"] == of_request
    assert written(record(Event("ours", {})))["request_id"] == of_request
    assert TextFormatter().format(record("uvicorn's")).endswith(f' uvicorn\'s request_id="{of_request}"')
    assert TextFormatter().format(record(Event("ours", {"request_id": "r-8"}))).endswith(' ours request_id="r-8"')


def test_a_line_outside_of_requests_has_no_id() -> None:
    assert "request_id" not in written(record("starting"))


def test_an_event_cannot_have_the_name_of_what_every_line_has() -> None:
    with pytest.raises(AssertionError, match="process"):
        log_event(logging.INFO, "worker_died", process=7)


@pytest.mark.parametrize("name", ["uvicorn.asgi", LOGGER_NAME, "asyncio", "py.warnings"])
def test_every_logger_writes_in_the_form_that_was_set(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with log_settings_kept():
        configure_logging("info", "json")
        logging.getLogger(name).warning("here")
    [line] = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["event"], json.loads(line)["message"]) == (name, "here")
