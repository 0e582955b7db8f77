"""Goodput of a worker under two and three times the load that it can handle.

    python -m bench.overload

A real service process with one worker, with its own settings for waiting, and an embedded Redis; requests with 200
candidates and 50 behaviours from a generator in a process of its own. Each round first measures the worker's
saturation with every place busy, then sends open loads of 1, 2 and 3 times that, whose requests arrive at random
times whatever the service does. At the end /livez and /readyz are asked during the heaviest load once more. Goodput is
full answers per second.

Loads are compared within a round, under much the same conditions. On a busy machine the worker gets less of a core,
so goodput per CPU second of the worker is given too. Generator and service share the cores; the generator's share of
one is printed.
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from bench.harness.ground import prepared
from bench.harness.load import Order, Outcome
from bench.harness.processes import ROOT, Server, serving
from bench.harness.progress import progress_bar
from bench.harness.traffic import bodies
from bench.health_under_load import probe
from dinrank.model.nets.names import NetworkName
from dinrank.training.report.report import describe_machine, source_commit

NUM_BEHAVIOURS, NUM_CANDIDATES = 50, 200
SATURATING_CONNECTIONS = 8  # number of places of a worker with one scoring thread
OPEN_CONNECTIONS = 128
LOADS = (1.0, 2.0, 3.0)
GOAL = 0.8
HEALTH_LIMIT_MS = 250.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Load:
    """One load of one round.

    Attributes:
        load: as a multiple of the round's saturation; 0 is the saturation itself.
        server_cpu_s: CPU time of the worker.
    """

    load: float
    outcome: Outcome
    server_cpu_s: float

    @property
    def per_cpu_s(self) -> float:
        return (self.outcome.answered - self.outcome.degraded) / self.server_cpu_s


def measure(server: Server, order: Order, load: float) -> Load:
    spent_s = server.cpu_s()
    answer = subprocess.run(
        [sys.executable, "-m", "bench.harness.load"],
        input=json.dumps(asdict(order)),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return Load(load, Outcome(**json.loads(answer.stdout)), server.cpu_s() - spent_s)


def slowest_check_ms(server: Server, order: Order) -> float:
    """Return the slowest health check's milliseconds during the load."""
    with ThreadPoolExecutor(1) as executor:
        loading = executor.submit(measure, server, order, LOADS[-1])
        slowest_ms = 0.0
        while not loading.done():
            slowest_ms = max(slowest_ms, *map(max, probe(server, 1.0).values()))
        loading.result()
    return slowest_ms


def measure_round(server: Server, bodies_file: Path, seconds: float) -> list[Load]:
    closed = Order(port=server.port, bodies=str(bodies_file), connections=SATURATING_CONNECTIONS, seconds=seconds)
    saturation = measure(server, closed, 0.0)
    return [saturation, *(measure(server, open_order(closed, load, saturation), load) for load in LOADS)]


def open_order(closed: Order, load: float, saturation: Load) -> Order:
    return replace(closed, connections=OPEN_CONNECTIONS, rate=load * saturation.outcome.per_second, is_poisson=True)


def goodput_share(loads: list[Load]) -> float:
    """Return goodput at the heaviest load as a share of the best in the round."""
    return loads[-1].outcome.per_second / max(load.outcome.per_second for load in loads)


def goodput_share_per_cpu_s(loads: list[Load]) -> float:
    return loads[-1].per_cpu_s / max(load.per_cpu_s for load in loads)


def refusal_cpu_ms(loads: list[Load]) -> float:
    """Return CPU time of a refusal at the heaviest load: the rest, if each answer costs as much as at saturation."""
    saturation, heaviest = loads[0], loads[-1]
    per_answer_s = saturation.server_cpu_s / saturation.outcome.answered
    left_s = heaviest.server_cpu_s - per_answer_s * heaviest.outcome.answered
    return 1e3 * left_s / max(1, heaviest.outcome.refused)


def table(rounds: list[list[Load]]) -> Table:
    columns = ("load", "sent/s", "answered/s", "refused", "other errors", "degraded", "p50 ms", "p99 ms", "CPU s")
    shown = Table(*columns, title="medians of the rounds; latencies of what was answered")
    for loads in zip(*rounds, strict=True):
        outcomes = [load.outcome for load in loads]
        shown.add_row(
            f"{loads[0].load:g} x" if loads[0].load else "saturation",
            f"{median(outcome.sent / outcome.seconds for outcome in outcomes):.0f}",
            f"{median(outcome.per_second for outcome in outcomes):.0f}",
            f"{sum(outcome.refused for outcome in outcomes)}",
            f"{sum(outcome.errors - outcome.refused for outcome in outcomes)}",
            f"{sum(outcome.degraded for outcome in outcomes)}",
            *(f"{median(outcome.answered_ms[share] for outcome in outcomes):.0f}" for share in ("p50", "p99")),
            f"{median(load.server_cpu_s for load in loads):.1f}",
        )
    return shown


@app.command(epilog="Example: python -m bench.overload --rounds 3 --seconds 8")
def main(
    model: Annotated[NetworkName, typer.Option(help="Network of the bundle, with random weights.")] = NetworkName.DIN,
    bundle: Annotated[Path | None, typer.Option(help="Existing bundle; by default one is made.")] = None,
    num_rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Rounds of one saturation and three loads each.")
    ] = 3,
    seconds: Annotated[float, typer.Option(min=1.0, help="Seconds of each load.")] = 8.0,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/overload.json"),
) -> None:
    """Goodput of a worker under two and three times the load that it can handle."""
    machine, console = describe_machine(), Console()
    with prepared(bundle, model, [NUM_BEHAVIOURS]) as ground:
        bodies_file = ground.directory / "bodies"
        bodies_file.write_bytes(b"\n".join(bodies(NUM_BEHAVIOURS, NUM_CANDIDATES)))
        # A busy Redis would give degraded answers, which are cheaper.
        settings = {"DINRANK_REDIS_TIMEOUT_MS": "10000"}
        with serving(ground.bundle, ground.redis_url, ground.directory / "log", **settings) as server:
            measure_round(server, bodies_file, 1.0)  # its figures are of a cold service
            rounds = []
            with progress_bar(console, "loading", total=num_rounds, unit="rounds") as advance:
                for _ in range(num_rounds):
                    rounds.append(measure_round(server, bodies_file, seconds))
                    advance(1)
            order = Order(port=server.port, bodies=str(bodies_file), connections=OPEN_CONNECTIONS, seconds=seconds)
            health_ms = slowest_check_ms(server, open_order(order, LOADS[-1], rounds[-1][0]))
    share, share_per_cpu_s = median(map(goodput_share, rounds)), median(map(goodput_share_per_cpu_s, rounds))
    refusal_ms = median(map(refusal_cpu_ms, rounds))
    generator = max(load.outcome.cpu_s / load.outcome.seconds for loads in rounds for load in loads)
    console.print(table(rounds))
    console.print(
        f"goodput at {LOADS[-1]:g} x: {share:.0%} of the most, per CPU second of the worker {share_per_cpu_s:.0%}\n"
        f"a refusal costs the worker {refusal_ms:.2f} ms of CPU time; the slowest health check took {health_ms:.0f} ms"
        f"\nthe generator had {generator:.0%} of a core at most"
    )
    goals = [
        {"name": "goodput at 3 x saturation", "goal": GOAL, "measured": share, "met": share >= GOAL},
        {
            "name": "slowest health check in ms",
            "goal": HEALTH_LIMIT_MS,
            "measured": health_ms,
            "met": health_ms <= HEALTH_LIMIT_MS,
        },
    ]
    document = {
        "goals": goals,
        "model": model,
        "refusal_cpu_ms": refusal_ms,
        "goodput_share_per_cpu_s": share_per_cpu_s,
        "commit": source_commit(),
        "machine": machine,
        "rounds": [[asdict(load) for load in loads] for loads in rounds],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {out}")


if __name__ == "__main__":
    app()
