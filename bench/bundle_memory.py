"""Cost of a bundle with millions of items: seconds to open, and the memory that each further worker adds.

    python -m bench.bundle_memory                       # 1,000,000 items
    python -m bench.bundle_memory --items 10000000      # needs about 10 GB of memory and 6 GB of disk for a while

Writes a bundle through the real writer: DIN with random parameters, vectors of 32 + 32 for item_id and a category.
Opens it as a worker does, then serves it with one worker and with two, which rank 200 candidates at a time for a user
with 50 behaviours. Memory is the proportional set size (PSS): a page that n processes share counts 1/n in each, so
the sum over processes is the machine's need. Several workers have a parent, which maps the bundle too, and a process
that they are forked from; these are listed separately. Unshared memory would be free again if the process ended.
Linux only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import psutil
import redis
import torch
import typer
from rich.console import Console

from dinrank.model.bundle.catalogue import Catalogue, column_with_sentinels
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.bundle.schema import ITEM_ID, Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.vocabulary import FIRST_ID, Vocabulary
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import build_network
from dinrank.service.scoring.predictor import Predictor
from dinrank.service.store.embedded import embedded_redis
from dinrank.service.store.layout import behaviours_key, encode_behaviour
from dinrank.training.export.bundle import export_bundle
from dinrank.training.report.report import describe_machine, source_commit

ROOT = Path(__file__).parents[1]
TEMPORARY = Path(tempfile.gettempdir())
NUM_CATEGORIES, NUM_BEHAVIOURS, NUM_CANDIDATES = 10_000, 50, 200
NUM_POPULAR = 2_000  # items in requests, from all over the catalogue, so that every worker touches the same pages
NUM_ROUNDS = 20  # passes over all of them
START_S = 300  # limit for a service to start
USER_ID = "1"
GOALS_OPEN_S = {1_000_000: 3.0, 10_000_000: 20.0}
GOAL_SHARE = 0.25

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
console = Console()


def item_id(item: int) -> str:
    return str(10_000_000 + 7 * item)


def write(out: Path, num_items: int) -> None:
    """Write the bundle from generators of tokens, without a list of millions of strings."""
    schema = FeatureSchema(
        features=(
            Feature(ITEM_ID, Group.ITEM, Kind.SINGLE, num_indices=num_items + FIRST_ID),
            Feature("category", Group.ITEM, Kind.SINGLE, num_indices=NUM_CATEGORIES + FIRST_ID),
        ),
        max_behaviours=NUM_BEHAVIOURS,
    )
    vocabularies = {
        ITEM_ID: Vocabulary(map(item_id, range(num_items))),
        "category": Vocabulary(f"category {number}" for number in range(NUM_CATEGORIES)),
    }
    columns = {
        ITEM_ID: column_with_sentinels(FIRST_ID + np.arange(num_items)),
        "category": column_with_sentinels(FIRST_ID + np.arange(num_items) % NUM_CATEGORIES),
    }
    catalogue = Catalogue(map(item_id, range(num_items)), columns)
    torch.manual_seed(0)
    network = build_network(NetworkName.DIN, schema, NetworkConfig(embedding_dim=32, embedding_std=0.1)).eval()
    export_bundle(
        out,
        network=network,
        name=NetworkName.DIN,
        encoder=Encoder(schema, vocabularies, catalogue),
        golden_requests=[golden_request(num_items)],
        training={"dataset": "made up"},
        metrics={},
    )


def golden_request(num_items: int) -> ScoringRequest:
    spread = [item_id(int(item)) for item in np.linspace(0, num_items - 1, NUM_CANDIDATES)]
    return ScoringRequest(
        candidates=[*spread, "no such item"],
        behaviours=spread[:NUM_BEHAVIOURS],
        profile={},
        context={},
        candidate_attributes={},
        behaviour_attributes={},
    )


def seconds_to_open(path: Path) -> dict[str, float]:
    """Return wall-clock and CPU seconds of a worker's work on a bundle before it answers, best of three."""
    taken = []
    for _ in range(3):
        wall, cpu = time.perf_counter(), time.process_time()
        bundle = open_bundle(path)
        opened = time.perf_counter()
        Predictor.load(bundle)
        ended = time.perf_counter()
        taken.append((ended - wall, opened - wall, ended - opened, time.process_time() - cpu))
    return dict(zip(("total", "open_bundle", "load_graph", "cpu"), min(taken), strict=True))


@contextmanager
def service(bundle: Path, redis_url: str, workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """Start a service on a free port; yield its address and its process, the only worker or the parent of several."""
    command = [sys.executable, "-m", "service", "serve", "--bundle", str(bundle), "--redis", redis_url, "--port", "0"]
    process = subprocess.Popen(
        [*command, "--workers", str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"DINRANK_REDIS_TIMEOUT_MS": "5000"},  # a busy machine must not make answers degraded
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = next((word.rstrip(",") for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise RuntimeError("the service ended at its start: run `python -m service serve` to see why")
        wait_until_ready(address)
        yield address, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with urllib.request.urlopen(f"{address}/readyz", timeout=START_S):
                return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def rank_popular(address: str, num_items: int) -> None:
    """Request all popular items, each time over a new connection, so that any worker may take it."""
    popular = np.linspace(0, num_items - 1, NUM_POPULAR).astype(int).tolist()
    for first in range(0, NUM_POPULAR, NUM_CANDIDATES):
        rank(address, popular[first : first + NUM_CANDIDATES])


def rank(address: str, items: list[int]) -> None:
    candidates = [{"ad_id": item_id(item), "bid": 1.0} for item in items]
    body = json.dumps({"user_id": USER_ID, "candidates": candidates}).encode()
    request = urllib.request.Request(f"{address}/rank", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        assert json.load(response)["behaviours"] == NUM_BEHAVIOURS


def memory(bundle: Path, redis_url: str, num_items: int, workers: int) -> dict[str, Any]:
    """Return megabytes of PSS by process, after every worker has answered."""
    with service(bundle, redis_url, workers) as (address, parent):
        serving = [parent] if workers == 1 else worker_processes(parent, workers)
        idle_threads = {process.pid: process.num_threads() for process in serving}
        rounds = 0
        # A worker starts its scoring thread on its first request.
        while rounds < NUM_ROUNDS or any(process.num_threads() <= idle_threads[process.pid] for process in serving):
            rank_popular(address, num_items)
            rounds += 1
        result: dict[str, Any] = {"workers": [megabytes(process) for process in serving]}
        if workers > 1:
            others = [each for each in (parent, *parent.children(recursive=True)) if each not in serving]
            result["others"] = [megabytes(process) for process in others]
        return result


def worker_processes(parent: psutil.Process, workers: int) -> list[psutil.Process]:
    """Return the parent's processes that map the bundle's files; multiprocessing has others of its own."""
    while True:
        children = parent.children(recursive=True)
        found = [child for child in children if any("items/ids" in file.path for file in child.memory_maps())]
        if len(found) == workers:
            return found
        time.sleep(0.1)


def megabytes(process: psutil.Process) -> dict[str, float]:
    """Return PSS, and its parts that are unshared and that are mapped from the bundle."""
    info = process.memory_full_info()
    mapped = sum(file.pss for file in process.memory_maps() if ".onnx.data" in file.path or ".npy" in file.path)
    return {"pss": info.pss / 1e6, "unshared": info.uss / 1e6, "of_bundle": mapped / 1e6}


def second_worker_share(one: Mapping[str, Any], two: Mapping[str, Any]) -> float:
    """Return the memory that a second worker adds, as a share of the first one's."""
    alone = one["workers"][0]["pss"]
    return float((sum(worker["pss"] for worker in two["workers"]) - alone) / alone)


def goal(name: str, limit: float, measured: float) -> dict[str, Any]:
    return {"name": name, "goal": limit, "measured": measured, "met": measured <= limit}


@app.command(epilog="Example: python -m bench.bundle_memory --items 1000000")
def main(
    items: Annotated[int, typer.Option(min=NUM_POPULAR, help="Items of the bundle.")] = 1_000_000,
    directory: Annotated[
        Path, typer.Option(help="Folder for the temporary bundle: about 0.6 kB per item.")
    ] = TEMPORARY,
    out: Annotated[Path, typer.Option(help="JSON file for the figures.")] = ROOT / "bench/out/bundle_memory.json",
) -> None:
    """Cost of a bundle with millions of items: seconds to open it, and megabytes that each further worker adds."""
    machine = describe_machine()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory(dir=directory, prefix="bundle_memory.") as scratch:
        bundle = Path(scratch) / "bundle"
        started = time.perf_counter()
        with console.status(f"writing a bundle with {items:,} items"):
            write(bundle, items)
        written_s = time.perf_counter() - started
        sizes = {str(path.relative_to(bundle)): path.stat().st_size for path in bundle.rglob("*") if path.is_file()}
        with console.status("opening it"):
            open_s = seconds_to_open(bundle)
        with console.status("serving it"), embedded_redis(Path(scratch) / "redis") as url:
            behaviours = [encode_behaviour(item_id(item), item) for item in range(NUM_BEHAVIOURS)]
            with redis.Redis.from_url(url) as client:
                client.rpush(behaviours_key(USER_ID), *behaviours)
            one, two = (memory(bundle, url, items, workers) for workers in (1, 2))
    share = second_worker_share(one, two)
    unshared_share = max(worker["unshared"] for worker in two["workers"]) / one["workers"][0]["pss"]
    goals = [
        goal(f"PSS that a second worker adds, {items:,} items, share of the first one's", GOAL_SHARE, share),
        goal(f"unshared memory of a second worker, {items:,} items, same share", GOAL_SHARE, unshared_share),
    ]
    if items in GOALS_OPEN_S:
        goals.append(goal(f"seconds to open {items:,} items", GOALS_OPEN_S[items], open_s["total"]))
    document = {
        "items": items,
        "bundle_bytes": sum(sizes.values()),
        "file_bytes": sizes,
        "written_s": written_s,
        "open_s": open_s,
        "one_worker_MB": one,
        "two_workers_MB": two,
        "goals": goals,
        "machine": machine,
        "commit": source_commit(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    console.print(document | {"file_bytes": "…"})


if __name__ == "__main__":
    app()
