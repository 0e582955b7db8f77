"""Whether memory returns after hot reloads, and what requests see of them.

    python -m bench.reload_memory --reloads 50

A real service with one worker and its own redis-server, both on loopback and ended at the end. A symbolic link is
switched between two bundles, `--bundles` or an untrained din and base, and `POST /admin/reload` is called after each
switch, while one caller ranks without a pause. An even number of reloads ends with the bundle that it began with.
"""

import argparse
import http.client
import json
import statistics
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.request.bundle import make_bundle
from bench.request.ground import prepared
from bench.request.processes import Server, post_rank, serving
from bench.request.traffic import bodies
from model.bundle.reader import open_bundle
from model.nets.registry import NetworkName

NUM_BEHAVIOURS, NUM_CANDIDATES = 50, 200
SETTLED_S = 2.5  # the service gives memory back 2 s after a swap


@dataclass
class Caller:
    """Ranks until it is told to stop; `seconds` has the time of its end and the duration of each request."""

    bodies: list[bytes]
    seconds: list[tuple[float, float]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def rank(self, connection: http.client.HTTPConnection) -> None:
        while not self.stop.is_set():
            start = time.monotonic()
            post_rank(connection, self.bodies[len(self.seconds) % len(self.bodies)])
            end = time.monotonic()
            self.seconds.append((end, end - start))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, nargs=2, help="Of one schema, that of bench/request/bundle.py.")
    parser.add_argument("--reloads", type=int, default=50)
    parser.add_argument("--out", type=Path, default=Path("bench/out/reload_memory.json"))
    options = parser.parse_args()
    with prepared(options.bundles and options.bundles[0], NetworkName.DIN, [NUM_BEHAVIOURS]) as ground:
        other = options.bundles[1] if options.bundles else ground.directory / "base"
        if not options.bundles:
            make_bundle(other, NetworkName.BASE)
        paths = [ground.bundle.resolve(), other.resolve()]
        link = ground.directory / "current"
        link.symlink_to(paths[0])
        with serving(link, ground.redis_url, ground.directory / "log", DINRANK_BUNDLE_POLL_MS="0") as server:
            figures = drive(server, link, paths, options.reloads)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(figures, indent=1) + "\n")


def drive(server: Server, link: Path, paths: list[Path], num_reloads: int) -> dict[str, object]:
    """Raises: ServerFailed, for a ranking that is not answered."""
    process, admin = psutil.Process(server.process.pid), server.connect()
    caller = Caller(bodies(NUM_BEHAVIOURS, NUM_CANDIDATES))
    thread = threading.Thread(target=caller.rank, args=[server.connect()])
    thread.start()
    time.sleep(SETTLED_S)
    megabytes, spans = [process.memory_info().rss / 1e6], []
    for number in range(1, num_reloads + 1):
        target = paths[number % len(paths)]
        switched = link.with_name("new")
        switched.symlink_to(target)
        switched.replace(link)
        start = time.monotonic()
        admin.request("POST", "/admin/reload")
        answer = json.loads(admin.getresponse().read())
        spans.append((start, time.monotonic()))
        assert answer["outcome"] == "swapped", answer
        assert answer["model"]["version"] == open_bundle(target).manifest.model_version
        time.sleep(SETTLED_S)
        megabytes.append(process.memory_info().rss / 1e6)
        print(f"reload {number}: {megabytes[-1]:.1f} MB", file=sys.stderr)  # noqa: T201
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
    print(f"resident, MB: {', '.join(f'{each:.1f}' for each in megabytes[::2])} (every second reload)")  # noqa: T201
    print(f"{len(caller.seconds)} requests, none failed; apart from reloads {figures['ms_apart']} ms")  # noqa: T201
    median_ms = statistics.median(ms(b - a) for a, b in spans)
    print(f"a reload takes {median_ms:.0f} ms; requests meanwhile {figures['ms_during']} ms")  # noqa: T201
    return figures


def ms(seconds: float) -> float:
    return round(seconds * 1_000, 1)


if __name__ == "__main__":
    main()
