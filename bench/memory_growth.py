"""Memory leak check: many requests of changing shapes, and the service's resident memory along the way.

    python -m bench.memory_growth --bundle bundles/din --requests 100000

A real service with one worker and its own redis-server, both on loopback, stopped at the end. Each request has another
number of candidates, known and new, and a user with another number of behaviours.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import redis
import typer
from rich.console import Console

from bench.harness.processes import Server, post_rank, serving
from bench.harness.progress import progress_bar
from dinrank.model.bundle.reader import open_bundle
from dinrank.service.store.embedded import embedded_redis
from dinrank.service.store.layout import behaviours_key, encode_behaviour

NUM_USERS = 200
MOST_CANDIDATES = 300
NUM_BODIES = 1_000
NUM_LOOKS = 10


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console(highlight=False, soft_wrap=True)


@app.command(epilog="Example: python -m bench.memory_growth --bundle bundles/din-ml-100k --requests 100000")
def main(
    bundle: Annotated[Path, typer.Option(help="Directory of the bundle to serve.")],
    requests: Annotated[int, typer.Option(min=NUM_LOOKS, help="Requests, one after the other.")] = 100_000,
    out: Annotated[Path, typer.Option(help="JSON file to write.")] = Path("bench/out/memory_growth.json"),
) -> None:
    """Memory leak check: many requests of changing shapes, and the service's resident megabytes meanwhile."""
    rng = np.random.default_rng(0)
    opened = open_bundle(bundle)
    item_ids = list(opened.encoder.catalogue.item_ids)
    bodies = [make_body(rng, item_ids) for _ in range(NUM_BODIES)]
    with tempfile.TemporaryDirectory() as directory, embedded_redis(Path(directory)) as url:
        with redis.Redis.from_url(url) as client:
            for user in range(NUM_USERS):
                if length := int(rng.integers(0, opened.schema.max_behaviours + 1)):
                    elements = [encode_behaviour(item_id, 0) for item_id in rng.choice(item_ids, length).tolist()]
                    client.rpush(behaviours_key(str(user)), *elements)
        with serving(bundle, url, Path(directory) / "log") as server:
            megabytes = drive(server, bodies, requests)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps({"requests": requests, "resident_mb": megabytes}, indent=1) + "\n")
    console.print(
        f"resident after {len(megabytes)} tenths: {', '.join(f'{each:.1f}' for each in megabytes)} MB; "
        f"the second half changed it by {megabytes[-1] - megabytes[len(megabytes) // 2]:+.1f} MB",
    )


def make_body(rng: np.random.Generator, item_ids: list[str]) -> bytes:
    ads = [
        {"ad_id": ad_id if rng.random() < 0.95 else f"new {rng.integers(10**6)}", "bid": float(rng.uniform(0.1, 2.0))}
        for ad_id in rng.choice(item_ids, int(rng.integers(1, MOST_CANDIDATES + 1))).tolist()
    ]
    return json.dumps({"user_id": str(rng.integers(NUM_USERS)), "candidates": ads}).encode()


def drive(server: Server, bodies: list[bytes], num_requests: int) -> list[float]:
    """Return resident megabytes after each tenth of the requests. Raises: ServerFailed, for an unanswered request."""
    process, connection = psutil.Process(server.process.pid), server.connect()
    megabytes = []
    with progress_bar(console, "asking", total=num_requests, unit="requests") as advance:
        for number in range(1, num_requests + 1):
            post_rank(connection, bodies[number * 7919 % len(bodies)])
            if number % (num_requests // NUM_LOOKS) == 0:
                megabytes.append(process.memory_info().rss / 1e6)
                console.print(f"{number:,} requests, {megabytes[-1]:.1f} MB")
                advance(num_requests // NUM_LOOKS)
    return megabytes


if __name__ == "__main__":
    app()
