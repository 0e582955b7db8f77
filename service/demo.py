"""`python -m service demo`: one real ranking from start to finish, and nothing left running."""

import json
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from model.bundle.reader import Bundle
from model.bundle.schema import Group
from service.publish.publisher import publish
from service.store.embedded import embedded_redis

MAX_CANDIDATES = 24
SHOWN = 12
TIMEOUT_S = 30


class DemoFailed(Exception):
    """The demo could not be shown; the message says which step failed."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A user of the test split and what was shown to them.

    Attributes:
        titles: item id to title, the id itself where the dataset has none.
        clicked: ids of the candidates that the user did click.
    """

    request: Mapping[str, Any]
    titles: Mapping[str, str]
    clicked: frozenset[str]


def run_demo(bundle: Bundle, data: Path, console: Console) -> None:
    """Publish `data` to an embedded Redis, serve `bundle`, rank the ads of a real user, print and stop everything.

    Raises:
        DatasetUnreadable, StoreSetupError, DemoFailed: each says what is missing.
    """
    scene = choose_scene(bundle, data)
    with tempfile.TemporaryDirectory(prefix="dinrank-demo-") as directory, embedded_redis(Path(directory)) as url:
        console.print(f"published to an embedded Redis: {publish(bundle, data, url, console=console)}", highlight=False)
        with _service(bundle.path, url, Path(directory) / "service.log") as address:
            answer = _rank(address, scene.request)
            _show(console, address, scene, answer)
    console.print("Redis and the service have stopped. `make serve` keeps them up.", highlight=False)


def choose_scene(bundle: Bundle, data: Path) -> Scene:
    """The test user with the most impressions, up to MAX_CANDIDATES of them as candidates, with made-up bids."""
    impressions = pl.read_parquet(data / "impressions.parquet")
    test = impressions.filter(pl.col("split") == "test") if "split" in impressions.columns else impressions
    user_id = test.group_by("user_id").len().sort("len", "user_id", descending=[True, False])["user_id"][0]
    shown = test.filter(pl.col("user_id") == user_id).tail(MAX_CANDIDATES).unique("item_id", maintain_order=True)
    rng = np.random.default_rng(0)
    bids = np.round(rng.lognormal(mean=-1.0, sigma=0.6, size=len(shown)), 2).tolist()
    context = [feature.name for feature in bundle.schema.group(Group.CONTEXT)]
    request = {
        "user_id": str(user_id),
        "candidates": [
            {"ad_id": str(item_id), "bid": bid} for item_id, bid in zip(shown["item_id"], bids, strict=True)
        ],
        "context": {name: shown[name][-1] for name in context if shown[name][-1] is not None},
    }
    return Scene(
        request=request,
        titles=_titles(data / "items.parquet"),
        clicked=frozenset(map(str, shown.filter(pl.col("clicked").cast(pl.Boolean))["item_id"])),
    )


def _titles(file: Path) -> dict[str, str]:
    if not file.exists() or "title" not in pl.read_parquet_schema(file):
        return {}
    items = pl.read_parquet(file, columns=["item_id", "title"])
    return {str(item_id): title for item_id, title in items.iter_rows()}


@contextmanager
def _service(bundle: Path, redis_url: str, log: Path) -> Iterator[str]:
    """A service process on a free port of this machine, ready to answer; its address."""
    command = [sys.executable, "-m", "service", "serve", "--bundle", str(bundle), "--redis", redis_url, "--port", "0"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _ready_address(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=TIMEOUT_S)


def _ready_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the service has said where it listens and is ready."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        said = re.search(r"answers on (http://[^\s,]+)", log.read_text(encoding="utf-8"))
        if said and _is_ready(said[1]):
            return said[1]
        time.sleep(0.05)
    raise DemoFailed(f"the service did not become ready within {TIMEOUT_S} s:\n{log.read_text(encoding='utf-8')}")


def _is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=1.0).is_success
    except httpx.TransportError:
        return False


def _rank(address: str, request: Mapping[str, Any]) -> dict[str, Any]:
    response = httpx.post(f"{address}/rank", json=request, timeout=10.0)
    if not response.is_success:
        raise DemoFailed(f"POST /rank answered {response.status_code}: {response.text}")
    answer: dict[str, Any] = response.json()
    return answer


def _show(console: Console, address: str, scene: Scene, answer: Mapping[str, Any]) -> None:
    ads = answer["ads"]
    console.print(
        f"\nPOST /rank for user {scene.request['user_id']} with {len(ads)} candidates, by {answer['model']['name']} "
        f"{answer['model']['version']} on {answer['behaviours']} behaviours. The bids are made up; 'clicked' is what "
        "the user really did.\n",
        highlight=False,
    )
    table = Table("rank", "ad", "title", "bid", "CTR", "eCPM", "clicked")
    for ad in ads[:SHOWN]:
        title = scene.titles.get(ad["ad_id"], ad["ad_id"])
        clicked = "yes" if ad["ad_id"] in scene.clicked else "no"
        table.add_row(
            str(ad["rank"]), ad["ad_id"], title, f"{ad['bid']:.2f}", f"{ad['ctr']:.4f}", f"{ad['ecpm']:.4f}", clicked
        )
    console.print(table)
    if len(ads) > SHOWN:
        console.print(f"… and {len(ads) - SHOWN} more", highlight=False)
    body = shlex.quote(json.dumps(scene.request))
    console.print("\nThe same request by hand, while a service is up (`make serve`):\n", highlight=False)
    print(f"curl -s http://127.0.0.1:8000/rank -H 'Content-Type: application/json' -d {body}\n")  # noqa: T201
