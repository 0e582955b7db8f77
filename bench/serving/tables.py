"""Tables of the results for the screen."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from bench.serving.goals import Verdict
from bench.serving.results import Results, ScoringResults
from bench.serving.setting import NAIVE, PLAIN, WORKERS
from bench.serving.under_load import ServiceResults


def tables(results: Results, verdicts: Sequence[Verdict]) -> Iterator[Table]:
    for scoring in results.scoring:
        yield scoring_table(scoring)
    for service in results.services:
        yield saturation_table(service)
        if service.loads:
            yield load_table(service)
    yield goals_table(verdicts)


def scoring_table(results: ScoringResults) -> Table:
    table = _table(f"scoring alone, one core, {results.network}, {results.shape}", "subject")
    for heading in ("CPU ms", "lowest to highest", "by the clock", "against the plain graph"):
        table.add_column(heading, justify="right")
    plain = results.timings.get(PLAIN)
    for name, timing in results.timings.items():
        ratio = f"{timing.cpu_ms / plain.cpu_ms:.2f} ×" if plain is not None and name != PLAIN else ""
        spread = f"{timing.lowest_ms:.2f} to {timing.highest_ms:.2f}"
        table.add_row(name, f"{timing.cpu_ms:.2f}", spread, f"{timing.wall_ms:.2f}", ratio)
    for name, reason in results.skipped.items():
        table.add_row(name, "skipped", reason)
    if results.looked_up is not None:
        table.caption = f"{results.looked_up:.1%} of the activation weights were in the table"
    return table


def saturation_table(results: ServiceResults) -> Table:
    table = _table(f"the service at saturation, {WORKERS} workers, {results.shape}", "service")
    for heading in ("answers/s", "rounds", f"times {NAIVE}", "CPU ms per answer", "errors"):
        table.add_column(heading, justify="right")
    naive = results.saturations[NAIVE]
    for name, found in results.saturations.items():
        ratio = f"{found.per_second / naive.per_second:.2f} ×" if name != NAIVE else ""
        rounds = " ".join(f"{per_second:.1f}" for per_second in found.rounds)
        table.add_row(name, f"{found.per_second:.1f}", rounds, ratio, f"{found.cpu_ms:.2f}", str(found.errors))
    for name, reason in results.skipped.items():
        table.add_row(name, "skipped", reason)
    return table


def load_table(results: ServiceResults) -> Table:
    table = _table(f"the service below and above its own saturation, {results.shape}", "service")
    for heading in ("of saturation", "requests/s", "p50 ms", "p95 ms", "p99 ms", "errors", "degraded"):
        table.add_column(heading, justify="right")
    for name, loads in results.loads.items():
        table.add_section()
        for load in loads:
            table.add_row(
                name,
                f"{load.share:.0%}",
                f"{load.rate:.1f}",
                *(f"{value:.1f}" for value in (load.p50_ms, load.p95_ms, load.p99_ms)),
                f"{load.errors} of {load.sent}",
                str(load.degraded),
            )
    return table


def goals_table(verdicts: Sequence[Verdict]) -> Table:
    table = _table("goals", "what")
    for heading in ("goal", "measured", "met"):
        table.add_column(heading, justify="right")
    for verdict in verdicts:
        measured = f"{verdict.measured:.2f}" if verdict.measured is not None else verdict.reason
        table.add_row(verdict.name, verdict.goal, measured, "yes" if verdict.met else "no")
    return table


def _table(title: str, first: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    return table
