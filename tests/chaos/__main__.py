"""The command: python -m tests.chaos."""

import itertools
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.harness.progress import progress_bar
from dinrank.training.report.report import describe_machine, source_commit
from tests.chaos import report
from tests.chaos.access_faults import ACCESS_FAULTS
from tests.chaos.bundle_faults import BUNDLE_FAULTS
from tests.chaos.connection_faults import CONNECTION_FAULTS
from tests.chaos.driver import LATE_AFTER_S
from tests.chaos.fault import Fault
from tests.chaos.graph_faults import GRAPH_FAULTS
from tests.chaos.ground import Topology, prepared
from tests.chaos.load_faults import LOAD_FAULTS
from tests.chaos.process_faults import PROCESS_FAULTS
from tests.chaos.redis_faults import REDIS_FAULTS
from tests.chaos.run import Verdict, run_fault

# The order matters: neighbours with the same Redis and settings share a service.
ALL_FAULTS: tuple[Fault, ...] = (
    *LOAD_FAULTS,
    *CONNECTION_FAULTS,
    *(fault for fault in REDIS_FAULTS if fault.topology is Topology.SINGLE),
    *BUNDLE_FAULTS,
    *GRAPH_FAULTS,
    *PROCESS_FAULTS,
    *ACCESS_FAULTS,
    *(fault for fault in REDIS_FAULTS if fault.topology is not Topology.SINGLE),
)
_NARROWEST = 140
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command(epilog="Example: python -m tests.chaos --only 'Redis'")
def main(
    only: Annotated[str, typer.Option(help="Only the faults whose name has this text.")] = "",
    quick: Annotated[bool, typer.Option(help="Only those of the short run.")] = False,
    out: Annotated[Path, typer.Option(help="JSON file to write; the table lies beside it.")] = Path(
        "bench/out/chaos.json"
    ),
) -> None:
    """Provoke every fault for real under steady load, and count what docs/reliability.md does not promise."""
    console = Console()
    console.width = max(console.width, _NARROWEST)  # the table's columns are told apart in a file too
    chosen = [fault for fault in ALL_FAULTS if only.lower() in fault.name.lower() and (fault.quick or not quick)]
    verdicts = list(provoke(chosen, console))
    console.print(report.table(verdicts))
    for verdict in verdicts:
        for detail in verdict.details:
            console.print(f"{verdict.fault}: {detail}", highlight=False, markup=False)
    made = report.document(verdicts, commit=source_commit(), machine=describe_machine())
    report.write(out, made, report.markdown(verdicts))
    console.print(f"{made['unpromised_failures']} failures that nobody promised; figures in {out}")
    raise typer.Exit(1 if made["unpromised_failures"] else 0)


def provoke(faults: Sequence[Fault], console: Console, *, late_after_s: float = LATE_AFTER_S) -> Iterator[Verdict]:
    """One after the other; neighbours with the same Redis and settings share a service."""
    number = itertools.count(1)
    with (
        tempfile.TemporaryDirectory(prefix="dinrank-chaos-") as folder,
        progress_bar(console, "provoking", total=len(faults), unit="faults") as advance,
    ):
        for (topology, settings), together in itertools.groupby(faults, key=lambda f: (f.topology, f.settings)):
            with ExitStack() as stack:
                ground = stack.enter_context(
                    prepared(Path(folder) / str(next(number)), topology, late_after_s=late_after_s, **settings)
                )
                for fault in together:
                    verdict = run_fault(fault, ground)
                    advance(1)
                    console.print(f"{fault.name}: {verdict.requests} requests, {verdict.unpromised} unpromised")
                    yield verdict


if __name__ == "__main__":
    app()
