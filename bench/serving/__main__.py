"""Scoring and serving compared with common alternatives, in one run.

    python -m bench.serving --quick

bench/README.md says what is compared and how; docs/performance.md quotes a full run.
"""

import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from bench.serving.environment import describe_environment
from bench.serving.goals import judge
from bench.serving.plot import draw
from bench.serving.results import Results, ScoringResults
from bench.serving.servers import ONE_THREAD, ROOT, ServiceFailed
from bench.serving.setting import FULL, QUICK, SERVICE, Effort
from bench.serving.tables import tables
from bench.serving.timing import Disagreement
from bench.serving.under_load import ServiceResults, measure
from dinrank.service.process.server import exit_on_signals

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


class Part(StrEnum):
    SCORING = "scoring"
    SERVICE = "service"


class ScoringFailed(Exception):
    """The scoring process ended without figures; the reason is on its stderr."""


@app.command(epilog="Example: python -m bench.serving --parts scoring --quick")
def main(
    parts: Annotated[
        str, typer.Option(help="Parts to measure: scoring, service, or both, comma-separated.")
    ] = "scoring,service",
    quick: Annotated[bool, typer.Option(help="Run for minutes only; the figures prove nothing.")] = False,
    poisson: Annotated[bool, typer.Option(help="Open loads at random times instead of evenly.")] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write; the picture goes beside it.")] = Path(
        "bench/out/results.json"
    ),
) -> None:
    """Scoring and the whole service compared with common alternatives."""
    chosen = _chosen(parts)
    environment = describe_environment()
    effort = QUICK if quick else FULL
    results = Results(
        scoring=_measure_scoring(quick) if Part.SCORING in chosen else [],
        services=_measure_services(effort, is_poisson=poisson) if Part.SERVICE in chosen else [],
    )
    verdicts = judge(results)
    for table in tables(results, verdicts):
        console.print(table)
    document = {
        "environment": environment,
        "quick": quick,
        "poisson": poisson,
        "effort": asdict(effort),
        "goals": [asdict(verdict) for verdict in verdicts],
        **asdict(results),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, out.with_suffix(""))
    console.print(f"figures in {out}, the picture in {out.with_suffix('.svg')}")


def _chosen(parts: str) -> list[Part]:
    try:
        return [Part(name.strip()) for name in parts.split(",")]
    except ValueError as exc:
        raise typer.BadParameter(f"{exc}; there are {', '.join(Part)}", param_hint="--parts") from exc


def _measure_scoring(quick: bool) -> list[ScoringResults]:
    """Measure in a subprocess, as libraries fix their thread count when loaded. Raises: ScoringFailed."""
    command = [sys.executable, "-m", "bench.serving.scoring", "quick" if quick else "full"]
    result = subprocess.run(
        command, cwd=ROOT, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=False
    )
    if result.returncode:
        raise ScoringFailed(f"scoring was not measured, see above: {' '.join(command)} ended with {result.returncode}")
    documents: list[dict[str, Any]] = json.loads(result.stdout)
    return [ScoringResults.from_json(document) for document in documents]


def _measure_services(effort: Effort, *, is_poisson: bool) -> Sequence[ServiceResults]:
    found = []
    for shape in effort.service_shapes:
        with tempfile.TemporaryDirectory() as directory, console.status("service") as status:
            say = status.update if console.is_terminal else console.print
            with_loads = shape == SERVICE
            found.append(measure(shape, Path(directory), effort, with_loads=with_loads, is_poisson=is_poisson, say=say))
    return found


if __name__ == "__main__":
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about missing torchvision
    try:
        with exit_on_signals():
            app()
    except (ScoringFailed, ServiceFailed, Disagreement) as exc:
        console.print(f"[red]{exc}", highlight=False)
        sys.exit(1)
