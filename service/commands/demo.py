"""`python -m service demo`: one real ranking end to end; everything is stopped afterwards."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.schema import Group
from dinrank.service.publish.publisher import publish
from dinrank.service.settings import ENV_PREFIX
from dinrank.service.store.embedded import embedded_redis

NUM_CANDIDATES = 24

NUM_SHOWN_BEHAVIOURS = 4

TIMEOUT_S = 30


class DemoFailed(Exception):
    """The demo failed; the message names the step."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A real user, and ads to choose from.

    Attributes:
        request: body of POST /rank.
        last_clicked: ids of the user's newest behaviours, newest first.
    """

    request: Mapping[str, Any]
    last_clicked: Sequence[str]


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
            _show(console, bundle, scene, answer)
    console.print("Redis and the service have stopped. `make serve` keeps them up.", highlight=False)


def choose_scene(bundle: Bundle, data: Path) -> Scene:
    """Choose the test user with the most impressions, and the most popular items not shown to that user.

    The bids are drawn from a log-normal distribution: datasets like MovieLens have none.
    """
    impressions = pl.read_parquet(data / "impressions.parquet").with_columns(pl.col("clicked").cast(pl.Boolean))
    test = impressions.filter(pl.col("split") == "test") if "split" in impressions.columns else impressions
    user_id = _most_frequent(test, "user_id", 1)[0]
    of_user = impressions.filter(pl.col("user_id") == user_id).sort("timestamp", maintain_order=True)
    unseen = impressions.filter(~pl.col("item_id").is_in(of_user["item_id"].implode()))
    candidates = _most_frequent(unseen, "item_id", NUM_CANDIDATES)
    rng = np.random.default_rng(0)
    bids = np.round(rng.lognormal(mean=-1.0, sigma=0.6, size=len(candidates)), 2).tolist()
    context = {feature.name: of_user[feature.name][-1] for feature in bundle.schema.group(Group.CONTEXT)}
    return Scene(
        request={
            "user_id": str(user_id),
            "candidates": [{"ad_id": str(ad), "bid": bid} for ad, bid in zip(candidates, bids, strict=True)],
            "context": {name: value for name, value in context.items() if value is not None},
        },
        last_clicked=[str(item) for item in reversed(of_user.filter("clicked")["item_id"].tail(NUM_SHOWN_BEHAVIOURS))],
    )


def _most_frequent(table: pl.DataFrame, column: str, count: int) -> list[Any]:
    return table.group_by(column).len().sort("len", column, descending=[True, False])[column].head(count).to_list()


@contextmanager
def _service(bundle: Path, redis_url: str, log: Path) -> Iterator[str]:
    """Run a service process on a free port of this machine; yields its address once it is ready."""
    command = [sys.executable, "-m", "service", "serve", "--bundle", str(bundle), "--redis", redis_url, "--port", "0"]
    command += ["--workers", "1"]  # for one request
    environment = {**os.environ, f"{ENV_PREFIX}LOG_FORMAT": "text"}  # the form that `_ready_address` parses
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            yield _ready_address(process, log)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=TIMEOUT_S)


def _ready_address(process: "subprocess.Popen[bytes]", log: Path) -> str:
    """Wait until the service has printed its address and is ready."""
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


def _show(console: Console, bundle: Bundle, scene: Scene, answer: Mapping[str, Any]) -> None:
    def title(item_id: str) -> str:
        return bundle.title_of(item_id) or item_id

    ads = answer["ads"]
    console.print(
        f"\nPOST /rank for user {scene.request['user_id']} with {len(ads)} candidates, by {answer['model']['name']} "
        f"{answer['model']['version']} on {answer['behaviours']} behaviours, the newest: "
        f"{'; '.join(map(title, scene.last_clicked))}.\nThe bids are made up.\n",
        highlight=False,
    )
    table = Table("rank", "ad", "title", "bid", "CTR", "eCPM = bid × CTR")
    for ad in ads:
        table.add_row(
            str(ad["rank"]),
            ad["ad_id"],
            title(ad["ad_id"]),
            f"{ad['bid']:.2f}",
            f"{ad['ctr']:.4f}",
            f"{ad['ecpm']:.4f}",
        )
    console.print(table)
    body = shlex.quote(json.dumps(scene.request))
    console.print("\nThe same request by hand, while a service is up (`make serve`):\n", highlight=False)
    print(f"curl -s http://127.0.0.1:8000/rank -H 'Content-Type: application/json' -d {body}\n")  # noqa: T201
