"""The verdicts as a table on the screen and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from tests.chaos.run import Verdict


def table(verdicts: Sequence[Verdict]) -> Table:
    drawn = Table("fault", "Redis", "requests", "degraded", "other failures", "p99 ms", "recovered after", "unpromised")
    for each in verdicts:
        drawn.add_row(
            each.fault,
            each.topology,
            f"{each.requests:,}",
            f"{each.degraded:,}",
            ", ".join(f"{count:,} {kind}" for kind, count in each.failures.items()) or "none",
            f"{each.p99_ms:,.0f}",
            f"{each.recovered_after_s:.1f} s",
            f"[red]{each.unpromised}[/red]" if each.unpromised else "0",
        )
    return drawn


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


def write(path: Path, made: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(made, indent=2) + "\n", encoding="utf-8")
