"""Structured logging: events with named fields, as text for people or as JSON for collectors."""

import json
import logging
import logging.config
import math
import traceback
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal

LOGGER_NAME = "dinrank"

RESERVED_FIELDS = frozenset({"time", "level", "event", "process", "message", "exception"})  # used by every log line

# Id of the request being answered, for its log lines; empty outside of requests. Set once per request, in its own task,
# and copied to the threads that work for it.
current_request_id: ContextVar[str] = ContextVar("current_request_id", default="")


@dataclass(frozen=True, slots=True)
class Event:
    """Content of a log line: an event and its fields. In text form, all values are quoted and escaped.

    A field called `request_id` overrides `current_request_id`.
    """

    name: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join([self.name, *(f"{name}={json.dumps(str(value))}" for name, value in self.fields.items())])


def log_event(level: int, event: str, **fields: object) -> None:
    """Log one line, the event's name and its fields, in the configured format."""
    assert not fields.keys() & RESERVED_FIELDS, f"fields of every line: {', '.join(sorted(RESERVED_FIELDS))}"
    logging.getLogger(LOGGER_NAME).log(level, Event(event, fields))


LogFormat = Literal["text", "json"]

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]

_LONGEST_TEXT = 8_000  # characters of one value; longer ones lose their middle

_REQUEST_ID = "request_id"

_SOURCES = {"uvicorn.error": "uvicorn"}  # uvicorn logs everything under this name, not only errors


class JsonFormatter(logging.Formatter):
    """One JSON object per line, in ASCII: `time` (RFC 3339, UTC), `level`, `event`, `process` (its id), `request_id`
    while a request is being answered, and the event's fields.

    In a library's line, `event` is the logger's name and `message` the text. `exception` holds a traceback. Text from
    a caller is always an escaped value, never a name: it cannot end the line or become a field.
    """

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _rfc_3339(record.created),
            "level": record.levelname.lower(),
            "event": _SOURCES.get(record.name, record.name),
            "process": record.process,
        }
        if isinstance(record.msg, Event):
            line["event"] = record.msg.name
        else:
            line["message"] = record.getMessage()
        line |= _fields(record)
        if record.exc_info:
            line["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps({name: _json_value(value) for name, value in line.items()})


class TextFormatter(logging.Formatter):
    """Time, level, process and message; tracebacks are indented, so that only a new entry starts at column 0."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s [%(process)d] %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the name is that of logging
        request_id = _fields(record).get(_REQUEST_ID)
        is_said = isinstance(record.msg, Event) and _REQUEST_ID in record.msg.fields
        if request_id and not is_said:
            record.message += f' {_REQUEST_ID}="{request_id}"'
        record.message = "\\n".join(record.message.splitlines())
        return super().formatMessage(record)

    def formatException(self, ei: ExceptionInfo) -> str:  # noqa: N802  the name is that of logging
        return "\n".join(f"  {line}" for line in super().formatException(ei).splitlines())


def configure_logging(level: str, log_format: LogFormat) -> None:
    """Configure logging of this process; a server's workers use `log_config`, each for itself."""
    logging.config.dictConfig(log_config(level, log_format))
    logging.captureWarnings(True)


def log_config(level: str, log_format: LogFormat) -> dict[str, Any]:
    """Return a `logging.config.dictConfig`: to standard error; other libraries and Python itself from warnings on."""
    to_stderr = {"handlers": ["stderr"], "level": level.upper(), "propagate": False}
    formatter = {"text": TextFormatter, "json": JsonFormatter}[log_format]
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "loggers": {"uvicorn": to_stderr, LOGGER_NAME: to_stderr},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
    }


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    """Return the event's fields, with the request id first if there is one."""
    request_id = current_request_id.get()
    of_request = {_REQUEST_ID: request_id} if request_id else {}
    return of_request | dict(record.msg.fields) if isinstance(record.msg, Event) else of_request


def _rfc_3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json_value(value: object) -> bool | int | float | str | None:
    if value is None or isinstance(value, (bool, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    # Python accepts half a surrogate pair as text, JSON parsers do not.
    text = str(value).encode("utf-8", "backslashreplace").decode("utf-8")
    if len(text) <= _LONGEST_TEXT:
        return text
    half = _LONGEST_TEXT // 2
    return f"{text[:half]} … {len(text) - 2 * half} characters … {text[-half:]}"
