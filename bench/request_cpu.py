"""CPU time of a request outside scoring, compared with a plain FastAPI handler.

    python -m bench.request_cpu

A real service process with one worker, a real embedded Redis, one keep-alive connection over the loopback, one request
after the other. CPU time is that of all threads of the server's process, from the scheduler's own count in
/proc/PID/task/*/schedstat. The scoring's part is what the service's metric
`dinrank_stage_cpu_seconds_total{stage="score"}` counted meanwhile: the CPU time of the thread that ran the graph, from
just before to just after, in the very same requests. The rest is everything else: HTTP, the body, Redis, encoding,
the order, the answer, and the kernel's work on the sockets. Redis itself is another process and does not count.

The reference (`bench/plain.py`) takes the same bodies and gives answers of the same form without scoring.
Both servers take turns, so that other load disturbs them alike; the figures are medians of the rounds.
"""

import itertools
import json
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit

import typer
from rich.console import Console
from rich.table import Table

from bench.harness.ground import prepared
from bench.harness.processes import Server, get, post_rank, serving, serving_plainly
from bench.harness.progress import progress_bar
from bench.harness.traffic import bodies
from bench.plain import SOCKET_VARIABLE
from dinrank.model.nets.names import NetworkName
from dinrank.training.report.report import describe_machine, source_commit

NUM_CANDIDATES = 200
NUM_BEHAVIOURS = [50, 10_000]
LIMIT_MS = 1.5  # outside the scoring, with the fewer behaviours
IDLE_S = 10.0
IDLE_LIMIT = 0.01  # of one core
OURS, PLAIN = "dinrank, outside the scoring", "plain FastAPI handler, no scoring"
SCORED = "dinrank, scoring"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Turn:
    """Some requests of one kind, one after the other."""

    name: str
    num_behaviours: int
    num_requests: int
    cpu_ms: float  # per request


class Driver:
    """Sends to one server over one connection."""

    def __init__(self, server: Server, *, has_metrics: bool) -> None:
        self._server = server
        self._connection = server.connect()
        self._has_metrics = has_metrics
        self._bodies = {count: itertools.cycle(bodies(count, NUM_CANDIDATES)) for count in NUM_BEHAVIOURS}

    def run(self, num_behaviours: int, num_requests: int) -> Iterator[Turn]:
        scoring_s, cpu_s = self._scoring_s(), self._server.cpu_s()
        for body in itertools.islice(self._bodies[num_behaviours], num_requests):
            post_rank(self._connection, body)
        cpu_s, scoring_s = self._server.cpu_s() - cpu_s, self._scoring_s() - scoring_s
        names = {OURS: cpu_s - scoring_s, SCORED: scoring_s} if self._has_metrics else {PLAIN: cpu_s}
        for name, spent_s in names.items():
            yield Turn(name, num_behaviours, num_requests, 1e3 * spent_s / num_requests)

    def _scoring_s(self) -> float:
        if not self._has_metrics:
            return 0.0
        found = re.search(
            r'^dinrank_stage_cpu_seconds_total\{stage="score"\} (\S+)$', get(self._connection, "/metrics"), re.MULTILINE
        )
        assert found is not None
        return float(found[1])


@app.command(epilog="Example: python -m bench.request_cpu --rounds 6 --requests 50")
def main(
    model: Annotated[NetworkName, typer.Option(help="Network of the bundle, with random weights.")] = NetworkName.BASE,
    bundle: Annotated[Path | None, typer.Option(help="Existing bundle; by default one is made.")] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Turns of each server.")] = 6,
    requests: Annotated[int, typer.Option(min=1, help="Requests a turn; a tenth for long histories.")] = 50,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/request_cpu.json"),
) -> None:
    """CPU milliseconds of a request outside scoring, compared with a plain FastAPI handler."""
    machine, console = describe_machine(), Console()
    with prepared(bundle, model, NUM_BEHAVIOURS) as ground, ExitStack() as stack:
        ours = stack.enter_context(
            serving(ground.bundle, ground.redis_url, ground.directory / "ours.log", DINRANK_REDIS_TIMEOUT_MS="10000")
        )
        socket = unquote(urlsplit(ground.redis_url).path)
        plain = stack.enter_context(serving_plainly(ground.directory / "plain.log", **{SOCKET_VARIABLE: socket}))
        drivers = [Driver(ours, has_metrics=True), Driver(plain, has_metrics=False)]
        turns: list[Turn] = []
        plan = [(count, requests if count == NUM_BEHAVIOURS[0] else max(1, requests // 10)) for count in NUM_BEHAVIOURS]
        total = (rounds + 1) * len(drivers) * sum(num_requests for _, num_requests in plan)
        with progress_bar(console, "asking", total=total, unit="requests") as advance:
            for round_ in range(rounds + 1):
                for (num_behaviours, num_requests), driver in itertools.product(plan, drivers):
                    done = list(driver.run(num_behaviours, num_requests))
                    turns += done if round_ else []  # round 0 is not counted
                    advance(num_requests)
        idle_s = ours.cpu_s()
        time.sleep(IDLE_S)
        idle = (ours.cpu_s() - idle_s) / IDLE_S

    summary = {
        name: {
            count: [turn.cpu_ms for turn in turns if (turn.name, turn.num_behaviours) == (name, count)]
            for count in NUM_BEHAVIOURS
        }
        for name in (OURS, SCORED, PLAIN)
    }
    table = Table("CPU ms per request", *(f"T = {count:,}" for count in NUM_BEHAVIOURS))
    for name, by_count in summary.items():
        table.add_row(
            name, *(f"{statistics.median(each):.2f} ({min(each):.2f}-{max(each):.2f})" for each in by_count.values())
        )
    console.print(table)
    console.print(f"idle: {idle:.2%} of a core")
    measured_ms = statistics.median(summary[OURS][NUM_BEHAVIOURS[0]])
    document = {
        "goals": [
            _goal("CPU ms per request outside the scoring, C = 200, T = 50", LIMIT_MS, measured_ms),
            _goal("share of a core that an idle service takes", IDLE_LIMIT, idle),
        ],
        "model": model,
        "num_candidates": NUM_CANDIDATES,
        "median_cpu_ms": {
            name: {count: statistics.median(each) for count, each in by_count.items()}
            for name, by_count in summary.items()
        },
        "commit": source_commit(),
        "machine": machine,
        "turns": [asdict(turn) for turn in turns],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {out}")


def _goal(name: str, goal: float, measured: float) -> dict[str, object]:
    return {"name": name, "goal": goal, "measured": measured, "met": measured <= goal}


if __name__ == "__main__":
    app()
