"""Report of findings: lines for people, a JSON document for programs."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

_CHECK_WIDTH, _LEVEL_WIDTH = 14, 7


class Level(StrEnum):
    OK = "ok"
    WARNING = "warning"  # works now, and may not when it matters
    WRONG = "wrong"  # does not work, or will lose data


@dataclass(frozen=True, slots=True)
class Finding:
    """Attributes:
    check: the thing checked, in a word.
    message: the result, in a sentence.
    remedy: what to do; empty if nothing is needed or the message says it.
    """

    check: str
    level: Level
    message: str
    remedy: str = ""


def as_text(finding: Finding) -> str:
    """Format a finding as one line, with its remedy below."""
    indent = "\n" + " " * (_LEVEL_WIDTH + _CHECK_WIDTH + 4)
    line = f"{finding.level:{_LEVEL_WIDTH}}  {finding.check:{_CHECK_WIDTH}}  {finding.message.replace(chr(10), indent)}"
    return f"{line}{indent}-> {finding.remedy}" if finding.remedy else line


def summary(findings: Sequence[Finding]) -> str:
    """Return the report's last line."""
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    if not counts[Level.WARNING] and not counts[Level.WRONG]:
        return f"all {len(findings)} checks passed"
    wrongs = counts[Level.WRONG]
    verdict = "nothing is wrong" if not wrongs else "1 thing is wrong" if wrongs == 1 else f"{wrongs} things are wrong"
    plural = "" if counts[Level.WARNING] == 1 else "s"
    return f"{verdict}; {counts[Level.WARNING]} warning{plural}, {counts[Level.OK]} checks passed"


def as_document(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a document, whose `status` is the worst level."""
    levels = [finding.level for finding in findings]
    worst = next((level for level in (Level.WRONG, Level.WARNING) if level in levels), Level.OK)
    return {"status": worst.value, "findings": [asdict(finding) for finding in findings]}


def is_any_wrong(findings: Sequence[Finding]) -> bool:
    return any(finding.level is Level.WRONG for finding in findings)


def ok(check: str, message: str) -> Finding:
    return Finding(check, Level.OK, message)


def warning(check: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.WARNING, message, remedy)


def wrong(check: str, message: str, remedy: str = "") -> Finding:
    return Finding(check, Level.WRONG, message, remedy)
