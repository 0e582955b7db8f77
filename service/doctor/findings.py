"""What one look at one thing found."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works now, and may not when it matters
    WRONG = "wrong"  # does not work, or will lose data


@dataclass(frozen=True, slots=True)
class Finding:
    """Attributes:
    check: what was looked at, in a word.
    message: what was found, in a sentence.
    remedy: what to do; empty where nothing is to be done or the message says it.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.WARNING, message, remedy)


def wrong(check: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.WRONG, message, remedy)
