"""Whether the service's memory grows: many requests of changing shapes, and its resident memory along the way.

    python -m bench.memory_growth --bundle bundles/din --requests 100000

A real service with one worker and its own redis-server, both on loopback and ended at the end. Each request has another
number of candidates, known and new, and a user with another number of behaviours.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import psutil
import redis

from bench.request.processes import Server, post_rank, serving
from model.bundle.reader import open_bundle
from service.store.embedded import embedded_redis
from service.store.layout import behaviours_key, encode_behaviour

NUM_USERS = 200
MOST_CANDIDATES = 300
NUM_BODIES = 1_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--out", type=Path, default=Path("bench/out/memory_growth.json"))
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    bundle = open_bundle(options.bundle)
    item_ids = list(bundle.encoder.catalogue.item_ids)
    bodies = [make_body(rng, item_ids) for _ in range(NUM_BODIES)]
    with tempfile.TemporaryDirectory() as directory, embedded_redis(Path(directory)) as url:
        with redis.Redis.from_url(url) as client:
            for user in range(NUM_USERS):
                if length := int(rng.integers(0, bundle.schema.max_behaviours + 1)):
                    elements = [encode_behaviour(item_id, 0) for item_id in rng.choice(item_ids, length).tolist()]
                    client.rpush(behaviours_key(str(user)), *elements)
        with serving(options.bundle, url, Path(directory) / "log") as server:
            megabytes = drive(server, bodies, options.requests)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps({"requests": options.requests, "resident_mb": megabytes}, indent=1) + "\n")
    print(  # noqa: T201
        f"resident after {len(megabytes)} tenths: {', '.join(f'{each:.1f}' for each in megabytes)} MB; "
        f"the second half changed it by {megabytes[-1] - megabytes[len(megabytes) // 2]:+.1f} MB"
    )


def make_body(rng: np.random.Generator, item_ids: list[str]) -> bytes:
    ads = [
        {"ad_id": ad_id if rng.random() < 0.95 else f"new {rng.integers(10**6)}", "bid": float(rng.uniform(0.1, 2.0))}
        for ad_id in rng.choice(item_ids, int(rng.integers(1, MOST_CANDIDATES + 1))).tolist()
    ]
    return json.dumps({"user_id": str(rng.integers(NUM_USERS)), "candidates": ads}).encode()


def drive(server: Server, bodies: list[bytes], num_requests: int) -> list[float]:
    """Resident megabytes after each tenth of the requests. Raises: ServerFailed, for a request that is not answered."""
    process, connection = psutil.Process(server.process.pid), server.connect()
    megabytes = []
    for number in range(1, num_requests + 1):
        post_rank(connection, bodies[number * 7919 % len(bodies)])
        if number % (num_requests // 10) == 0:
            megabytes.append(process.memory_info().rss / 1e6)
            print(f"{number:,} requests, {megabytes[-1]:.1f} MB", file=sys.stderr)  # noqa: T201
    return megabytes


if __name__ == "__main__":
    main()
