"""The verdicts as a table, on the screen and as Markdown, and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.chaos.run import Verdict

_HEADINGS = ("fault", "Redis", "requests", "degraded", "other failures", "p99 ms", "recovered after", "unpromised")


def table(verdicts: Sequence[Verdict]) -> Table:
    """For the screen."""
    drawn = Table(*_HEADINGS)
    for each in verdicts:
        *cells, unpromised = _cells(each)
        drawn.add_row(*cells, f"[red]{unpromised}[/red]" if each.unpromised else unpromised)
    return drawn


def markdown(verdicts: Sequence[Verdict]) -> str:
    """For docs/reliability.md."""
    rows = [_HEADINGS, ("---",) * len(_HEADINGS), *map(_cells, verdicts)]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _cells(verdict: Verdict) -> tuple[str, ...]:
    return (
        verdict.fault,
        verdict.topology,
        f"{verdict.requests:,}",
        f"{verdict.degraded:,}",
        ", ".join(f"{count:,} {kind}" for kind, count in verdict.failures.items()) or "none",
        f"{verdict.p99_ms:,.0f}",
        f"{verdict.recovered_after_s:.1f} s",
        f"{verdict.unpromised}",
    )


def document(verdicts: Sequence[Verdict], **origin: Any) -> dict[str, Any]:
    """Args:
    origin: what the reader needs to believe it: commit, machine.
    """
    return {
        "unpromised_failures": sum(each.unpromised for each in verdicts),
        **origin,
        "faults": [_row(each) for each in verdicts],
    }


def _row(verdict: Verdict) -> dict[str, Any]:
    return {
        "fault": verdict.fault,
        "redis": verdict.topology,
        "requests": verdict.requests,
        "degraded": verdict.degraded,
        "failures": verdict.failures,
        "p50_ms": verdict.p50_ms,
        "p99_ms": verdict.p99_ms,
        "recovered_after_s": verdict.recovered_after_s,
        "unpromised": verdict.unpromised,
        "details": verdict.details,
    }


def write(path: Path, made: dict[str, Any], table_text: str) -> None:
    """The document, and the table beside it as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(table_text, encoding="utf-8")
