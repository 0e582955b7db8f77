"""Latency of health checks while one worker is overloaded with rankings.

    python -m bench.health_under_load

A real service process with one worker and an embedded Redis; a second process keeps `--callers` rankings of 200
candidates and 50 behaviours in flight all the time, so the worker is never idle. Meanwhile this process asks /livez
and /readyz in turn on connections of their own, at a steady pace. Machines with fewer than two free cores measure their
own scheduler as well: the machine's load from before the start is in the JSON.
"""

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from bench.harness.ground import prepared
from bench.harness.processes import ROOT, Server, get, serving
from dinrank.model.nets.names import NetworkName
from dinrank.training.report.report import describe_machine, source_commit

NUM_BEHAVIOURS, NUM_CANDIDATES = 50, 200
LIMIT_MS = 50.0
PATHS = ("/livez", "/readyz")
PACE_S = 0.02

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def probe(server: Server, duration_s: float) -> dict[str, list[float]]:
    """Return each check's milliseconds."""
    connections = {path: server.connect() for path in PATHS}
    taken_ms: dict[str, list[float]] = {path: [] for path in PATHS}
    end = time.monotonic() + duration_s
    while time.monotonic() < end:
        for path, connection in connections.items():
            started = time.perf_counter()
            get(connection, path)
            taken_ms[path].append(1e3 * (time.perf_counter() - started))
            time.sleep(PACE_S)
    return taken_ms


@app.command(epilog="Example: python -m bench.health_under_load --callers 16")
def main(
    model: Annotated[NetworkName, typer.Option(help="Network of the bundle, with random weights.")] = NetworkName.DIN,
    bundle: Annotated[Path | None, typer.Option(help="Existing bundle; by default one is made.")] = None,
    callers: Annotated[int, typer.Option(min=1, help="Rankings in flight.")] = 16,
    duration_s: Annotated[float, typer.Option(min=1.0, help="Seconds of probing.")] = 15.0,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/health_under_load.json"),
) -> None:
    """Latency of health checks while a worker is overloaded with rankings."""
    machine, console = describe_machine(), Console()
    with prepared(bundle, model, [NUM_BEHAVIOURS]) as ground, ExitStack() as stack:
        server = stack.enter_context(
            serving(
                ground.bundle,
                ground.redis_url,
                ground.directory / "log",
                DINRANK_REDIS_TIMEOUT_MS="10000",
                DINRANK_MAX_WAIT_MS="60000",  # all rankings wait: a refusal would be cheaper
            )
        )
        load = subprocess.Popen(
            [sys.executable, "-m", "bench.request.load", str(server.port), str(callers)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        stack.callback(load.wait)
        stack.callback(load.terminate)
        assert load.stdout is not None
        load.stdout.readline()  # all callers have started, or it ended and says why
        spent_s, started = server.cpu_s(), time.monotonic()
        taken_ms = probe(server, duration_s)
        busy = (server.cpu_s() - spent_s) / (time.monotonic() - started)
        if load.poll() is not None:
            raise RuntimeError(f"the load ended with status {load.returncode}; see its output above")

    table = Table("check", "checks", "p50 ms", "p99 ms", "max ms")
    goals = []
    for path, each in taken_ms.items():
        p50, p99 = np.percentile(each, [50, 99])
        table.add_row(path, f"{len(each)}", f"{p50:.1f}", f"{p99:.1f}", f"{max(each):.1f}")
        name = f"p99 of {path} in ms at full load"
        goals.append({"name": name, "goal": LIMIT_MS, "measured": float(p99), "met": bool(p99 <= LIMIT_MS)})
    console.print(table)
    console.print(f"{model}, {callers} rankings in flight; the worker had {busy:.0%} of a core")
    document = {
        "goals": goals,
        "model": model,
        "callers": callers,
        "share_of_a_core": busy,
        "commit": source_commit(),
        "machine": machine,
        "milliseconds": taken_ms,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    console.print(f"figures in {out}")


if __name__ == "__main__":
    app()
