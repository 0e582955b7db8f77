"""Memory after hot reloads, and their effect on requests.

    python -m bench.reload_memory --reloads 50

A real service with one worker and its own redis-server, both on loopback and stopped at the end. A symbolic link is
switched between two bundles, `--bundles` or an untrained din and base, and `POST /admin/reload` is called after each
switch, while one caller ranks without a pause. An even number of reloads ends with the bundle that it began with.
"""

import http.client
import json
import secrets
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from bench.harness.bundle import make_bundle
from bench.harness.ground import prepared
from bench.harness.processes import Server, post_rank, serving
from bench.harness.progress import progress_bar
from bench.harness.traffic import bodies
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.nets.names import NetworkName

NUM_BEHAVIOURS, NUM_CANDIDATES = 50, 200
SETTLED_S = 2.5  # the service returns memory 2 s after a swap


@dataclass
class Caller:
    """Ranks until stopped; `seconds` has the end time and the duration of each request."""

    bodies: list[bytes]
    seconds: list[tuple[float, float]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def rank(self, connection: http.client.HTTPConnection) -> None:
        while not self.stop.is_set():
            start = time.monotonic()
            post_rank(connection, self.bodies[len(self.seconds) % len(self.bodies)])
            end = time.monotonic()
            self.seconds.append((end, end - start))


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)


@app.command(epilog="Example: python -m bench.reload_memory --reloads 50")
def main(
    bundles: Annotated[
        tuple[Path, Path] | None,
        typer.Option(help="Two bundles of the schema of bench/harness/bundle.py; by default two are made."),
    ] = None,
    reloads: Annotated[int, typer.Option(min=1, help="Number of switches between them.")] = 50,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/reload_memory.json"),
) -> None:
    """Memory after hot reloads, in megabytes, and the latency of requests meanwhile."""
    with prepared(bundles and bundles[0], NetworkName.DIN, [NUM_BEHAVIOURS]) as ground:
        other = bundles[1] if bundles else ground.directory / "base"
        if not bundles:
            make_bundle(other, NetworkName.BASE)
        paths = [ground.bundle.resolve(), other.resolve()]
        link = ground.directory / "current"
        link.symlink_to(paths[0])
        keys = ground.directory / "admin-key"
        keys.write_text(secrets.token_hex(32))
        settings = {"DINRANK_BUNDLE_POLL_MS": "0", "DINRANK_ADMIN_KEYS_FILE": str(keys)}
        with serving(link, ground.redis_url, ground.directory / "log", **settings) as server:
            figures = drive(server, link, paths, reloads)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(figures, indent=1) + "\n")


def drive(server: Server, link: Path, paths: list[Path], num_reloads: int) -> dict[str, object]:
    """Raises: ServerFailed, for an unanswered ranking."""
    process, admin = psutil.Process(server.process.pid), server.connect()
    caller = Caller(bodies(NUM_BEHAVIOURS, NUM_CANDIDATES))
    thread = threading.Thread(target=caller.rank, args=[server.connect()])
    thread.start()
    time.sleep(SETTLED_S)
    megabytes, spans = [process.memory_info().rss / 1e6], []
    with progress_bar(console, "reloading", total=num_reloads, unit="reloads") as advance:
        for number in range(1, num_reloads + 1):
            spans.append(reload(admin, link, paths[number % len(paths)]))
            time.sleep(SETTLED_S)
            megabytes.append(process.memory_info().rss / 1e6)
            console.print(f"reload {number}: {megabytes[-1]:.1f} MB")
            advance(1)
    caller.stop.set()
    thread.join()
    during = [took for end, took in caller.seconds if any(a <= end and end - took <= b for a, b in spans)]
    apart = [took for end, took in caller.seconds if not any(a <= end and end - took <= b for a, b in spans)]
    figures = {
        "resident_mb": megabytes,
        "reload_ms": [ms(b - a) for a, b in spans],
        "requests": len(caller.seconds),
        "ms_apart": {"median": ms(statistics.median(apart)), "longest": ms(max(apart))},
        "ms_during": {"median": ms(statistics.median(during)), "longest": ms(max(during))},
    }
    console.print(f"resident, MB: {', '.join(f'{each:.1f}' for each in megabytes[::2])} (every second reload)")
    console.print(f"{len(caller.seconds)} requests, none failed; apart from reloads {figures['ms_apart']} ms")
    median_ms = statistics.median(ms(b - a) for a, b in spans)
    console.print(f"a reload takes {median_ms:.0f} ms; requests meanwhile {figures['ms_during']} ms")
    return figures


def reload(admin: http.client.HTTPConnection, link: Path, target: Path) -> tuple[float, float]:
    """Switch the link and reload the service; return the times of the reload's beginning and end."""
    switched = link.with_name("new")
    switched.symlink_to(target)
    switched.replace(link)
    start = time.monotonic()
    admin.request("POST", "/admin/reload", headers={"X-API-Key": link.with_name("admin-key").read_text().strip()})
    answer = json.loads(admin.getresponse().read())
    end = time.monotonic()
    assert answer["outcome"] == "swapped", answer
    assert answer["model"]["version"] == open_bundle(target).manifest.model_version
    return start, end


def ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


if __name__ == "__main__":
    app()
