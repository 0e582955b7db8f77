"""Soak test: steady load on a real service for half an hour; does anything grow or fail?

    python -m bench.soak --minutes 30

`python -m service serve` with two workers and a redis-server, on loopback, stopped at the end. Requests of changing
shapes, each with a new ad, come at a steady pace; every ten seconds the workers' memory and open files, Redis's
connections, failures and latencies are recorded. It draws them and reports what grew.
"""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console

from bench.harness.ground import prepared
from bench.harness.processes import Server, serving
from bench.harness.progress import progress_bar
from bench.soak.load import NUMS_BEHAVIOURS, SteadyLoad
from bench.soak.plot import draw
from bench.soak.samples import Sample, look
from bench.soak.summary import summarise
from dinrank.model.nets.names import NetworkName
from dinrank.training.report.report import describe_machine, source_commit

LOOK_EVERY_S = 10.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Plan:
    """Load and duration."""

    minutes: float
    per_second: float
    callers: int
    workers: int


def soak(server: Server, store: redis.Redis, plan: Plan, console: Console) -> list[Sample]:
    load = SteadyLoad(server.port, per_second=plan.per_second, callers=plan.callers)
    samples: list[Sample] = []
    started = time.monotonic()
    num_requests = 60 * plan.minutes * plan.per_second
    with load.running(), progress_bar(console, "soaking", total=num_requests, unit="requests") as advance:
        while time.monotonic() - started < 60 * plan.minutes:
            time.sleep(LOOK_EVERY_S)
            samples.append(look(server, store, load.taken_window(), time.monotonic() - started))
            console.print(_line(samples[-1]), highlight=False)
            advance(samples[-1].requests)
    return samples


def _line(sample: Sample) -> str:
    workers = ", ".join(f"{each.rss_mb:.0f} MB and {each.files} files" for each in sample.workers.values())
    return (
        f"{sample.at_s:6.0f} s  {sample.requests} requests, {sum(sample.failures.values())} failures, "
        f"{sample.degraded} degraded, p50 {sample.p50_ms:.1f} ms, p99 {sample.p99_ms:.1f} ms; workers {workers}; "
        f"Redis {sample.redis_clients} connections"
    )


@app.command(epilog="Example: python -m bench.soak --minutes 30 --per-second 30")
def main(
    minutes: Annotated[float, typer.Option(min=0.2, help="Duration in minutes.")] = 30.0,
    per_second: Annotated[float, typer.Option(min=1.0, help="Requests per second, all callers together.")] = 30.0,
    callers: Annotated[int, typer.Option(min=1, help="Connections that send them.")] = 4,
    workers: Annotated[int, typer.Option(min=2, help="Worker processes of the service.")] = 2,
    model: Annotated[NetworkName, typer.Option(help="Network of the bundle, with random weights.")] = NetworkName.DIN,
    bundle: Annotated[Path | None, typer.Option(help="Existing bundle; by default one is made.")] = None,
    out: Annotated[Path, typer.Option(help="JSON file to write; the picture lies beside it.")] = Path(
        "bench/out/soak.json"
    ),
) -> None:
    """Soak test: steady load on a real service; does anything grow or fail?"""
    machine, console = describe_machine(), Console()
    plan = Plan(minutes, per_second, callers, workers)
    with prepared(bundle, model, list(NUMS_BEHAVIOURS)) as ground, redis.Redis.from_url(ground.redis_url) as store:
        # A busy machine must not make answers degraded.
        settings = {"DINRANK_REDIS_TIMEOUT_MS": "1000"}
        with serving(ground.bundle, ground.redis_url, ground.directory / "log", workers=workers, **settings) as server:
            samples = soak(server, store, plan, console)
    summary = summarise(samples)
    document = {
        "summary": summary,
        "minutes": minutes,
        "per_second": per_second,
        "callers": callers,
        "model": model,
        "commit": source_commit(),
        "machine": machine,
        "samples": [sample.to_json() for sample in samples],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draw(samples, out.with_suffix(""))
    console.print_json(data=summary)
    console.print(f"figures in {out}, picture in {out.with_suffix('.svg')}")


if __name__ == "__main__":
    app()
