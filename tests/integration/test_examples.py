"""The examples as their headers say: against a real service that asks for a key, with a real Redis, and without one."""

import http.client
import json
import os
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest
from typer.testing import CliRunner

from dinrank.service.scoring.admission import PLACES_BESIDE_SCORING
from tests.fixtures.bundle import expected_ctr
from tests.fixtures.command import ROOT, Served, served
from tests.fixtures.redis_server import RedisServer, run_redis, wait_until

EXAMPLES = ROOT / "examples"
CLIENT = runpy.run_path(str(EXAMPLES / "rank_client.py"))
BATCH = runpy.run_path(str(EXAMPLES / "score_offline.py"))
KEY = "the-key-of-the-examples"
NUM_PLACES = 1 + PLACES_BESIDE_SCORING  # one scoring thread
PATIENT_MS = 30_000
BIDS = {"1": 1.0, "3": 2.0}
CTRS = {ad: expected_ctr(ad, ["3", "2"]) for ad in BIDS}


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """User 42 saw 3 and then 2."""
    with run_redis(tmp_path_factory.mktemp("redis"), "--save", "") as server:
        for item_id, timestamp in (("3", 100), ("2", 200)):
            server.client.lpush("{u:42}:behaviours", json.dumps({"item_id": item_id, "timestamp": timestamp}))
        yield server


@pytest.fixture(scope="module")
def service(bundle_path: Path, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """It waits for Redis as long as it takes, and lets no request wait for its turn."""
    directory = tmp_path_factory.mktemp("service")
    (directory / "keys").write_text(f"{KEY}\n", encoding="utf-8")
    settings = {
        "DINRANK_API_KEYS_FILE": str(directory / "keys"),
        "DINRANK_REDIS_TIMEOUT_MS": "600000",
        "DINRANK_MAX_WAITING": "0",
    }
    with served(directory, bundle_path, "--redis", f"redis://127.0.0.1:{redis.port}", **settings) as running:
        yield running


@pytest.fixture
def client(service: Served) -> Iterator[Any]:
    with CLIENT["RankingClient"](service.address, key=KEY) as client:
        yield client


def run(*command: str, key: str | None = KEY, **further: Any) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DINRANK_")}
    if key is not None:
        environment["DINRANK_API_KEY"] = key
    environment |= further.pop("env", {})
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, **further)


def ctrs(ads: Sequence[Mapping[str, Any]]) -> Mapping[str, float]:
    return {ad["ad_id"]: ad["ctr"] for ad in ads}


def test_the_client_ranks_with_its_key(client: Any) -> None:
    answer = client.rank("42", BIDS, budget_ms=PATIENT_MS)
    assert ctrs(answer.ads) == pytest.approx(CTRS, abs=1e-6)
    assert answer.degraded == []


def test_the_client_as_a_command_prints_the_ranking(service: Served) -> None:
    command = (sys.executable, "examples/rank_client.py", "--url", service.address, "--user", "42")
    ran = run(*command, "--budget-ms", str(PATIENT_MS), "1=1", "3=2")
    assert ran.returncode == 0, ran.stderr
    best, second = sorted(BIDS, key=lambda ad: -BIDS[ad] * CTRS[ad])
    assert [line.split()[:2] for line in ran.stdout.splitlines()] == [["1.", best], ["2.", second]]


def test_a_wrong_key_is_not_tried_again(service: Served) -> None:
    with CLIENT["RankingClient"](service.address, key="another") as client, pytest.raises(CLIENT["Refused"]) as said:
        client.rank("42", BIDS, budget_ms=PATIENT_MS)
    assert str(said.value).startswith("401 ")


def test_a_degraded_answer_is_an_answer_that_says_so(client: Any, redis: RedisServer) -> None:
    redis.client.execute_command("ACL", "SETUSER", "default", "-lrange")
    try:
        answer = client.rank("42", BIDS, budget_ms=PATIENT_MS)
    finally:
        redis.client.execute_command("ACL", "SETUSER", "default", "+@all")
    assert "behaviours" in answer.degraded
    assert ctrs(answer.ads) == pytest.approx({ad: expected_ctr(ad) for ad in BIDS}, abs=1e-6)


def test_where_nobody_listens_the_client_gives_up_in_time_and_its_command_falls_back_to_bids() -> None:
    with CLIENT["RankingClient"]("http://127.0.0.1:9") as client, pytest.raises(CLIENT["NoAnswer"], match="Connect"):
        client.rank("42", BIDS, budget_ms=100)
    ran = run(sys.executable, "examples/rank_client.py", "--url", "http://127.0.0.1:9", "--user", "42", "1=1", "3=2")
    assert (ran.returncode, ran.stdout.splitlines()) == (0, ["3 bid 2", "1 bid 1"])


def refused(service: Served) -> float:
    text = httpx.get(f"{service.address}/metrics", headers={"X-API-Key": KEY}, timeout=30).text
    line = next(line for line in text.splitlines() if line.startswith('dinrank_requests_total{outcome="overloaded"}'))
    return float(line.rpartition(" ")[2])


@contextmanager
def busy(service: Served, redis: RedisServer) -> Iterator[float]:
    """Every place is taken, by requests that wait for a Redis that stands still; gives how many were refused so far."""
    before = refused(service)
    body = json.dumps({"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]})
    redis.process.send_signal(signal.SIGSTOP)
    connections = []
    try:
        for _ in range(NUM_PLACES + 1):  # the one too many shows that the places are taken
            host, port = service.address.removeprefix("http://").split(":")
            connections.append(http.client.HTTPConnection(host, int(port), timeout=30))
            connections[-1].request("POST", "/rank", body, {"Content-Type": "application/json", "X-API-Key": KEY})
        wait_until(lambda: refused(service) == before + 1, "the places are taken")
        yield before + 1
    finally:
        redis.process.send_signal(signal.SIGCONT)
        for connection in connections:
            connection.getresponse().read()
            connection.close()


def test_a_busy_service_is_asked_again_when_it_says_and_not_when_that_is_too_late(
    service: Served, redis: RedisServer, client: Any
) -> None:
    with ThreadPoolExecutor(1) as background:
        with busy(service, redis) as before:
            with pytest.raises(CLIENT["NoAnswer"], match="503"):
                client.rank("42", BIDS, budget_ms=900)  # Retry-After is a second or more
            answer = background.submit(client.rank, "42", BIDS, budget_ms=PATIENT_MS)
            wait_until(lambda: refused(service) >= before + 2, "the client was refused")
        assert ctrs(answer.result(timeout=30).ads) == pytest.approx(CTRS, abs=1e-6)


def test_curl_ranks_and_shows_a_problem(service: Served) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl: apt-get install curl")
    body = json.dumps({"user_id": "42", "candidates": [{"ad_id": ad, "bid": bid} for ad, bid in BIDS.items()]})
    where = {"DINRANK_URL": service.address}
    ran = run("examples/rank.sh", input=body, env=where)
    assert ran.returncode == 0, ran.stderr
    assert ctrs(json.loads(ran.stdout)["ads"]) == pytest.approx(CTRS, abs=1e-6)
    unknown = run("examples/rank.sh", input=body, env=where, key=None)
    assert unknown.returncode == 22  # curl's for an answer of 400 or more
    assert json.loads(unknown.stdout)["status"] == 401


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """User 42 clicked on 3 and then on 900, which is newer than the bundle; user 5 clicked on nothing."""
    directory = tmp_path / "data"
    directory.mkdir()
    clicks = {"user_id": [42, 42], "item_id": ["900", "3"], "timestamp": [200, 100]}
    pl.DataFrame(clicks).write_parquet(directory / "behaviours.parquet")
    items = {"item_id": ["900"], "genre": [["Horror"]], "price": [25.0]}
    pl.DataFrame(items).write_parquet(directory / "items.parquet")
    users = {"user_id": ["42", "5"], "gender": ["f", "m"], "age": [51, 20], "interests": [["sport"], []]}
    pl.DataFrame(users).write_parquet(directory / "users.parquet")
    return directory


def test_the_batch_job_scores_as_the_formula_does_without_torch(bundle_path: Path, data: Path, tmp_path: Path) -> None:
    rows = [
        (42, "1", "21", 2.0),
        (5, "900", "9", 1.0),
        (42, "900", "9", 0.5),
        (42, "2", "21", 1.0),
        (99, "1", None, 1.0),
    ]
    pairs, out = tmp_path / "pairs.parquet", tmp_path / "scored.parquet"
    pl.DataFrame(rows, schema=["user_id", "item_id", "hour", "bid"], orient="row").write_parquet(pairs)
    arguments = ["--bundle", bundle_path, "--data", data, "--pairs", pairs, "--out", out]
    program = f"""
import runpy, sys
sys.argv = {["score_offline.py", *map(str, arguments)]!r}
try:
    runpy.run_path("examples/score_offline.py", run_name="__main__")
finally:
    print("torch" in sys.modules)
"""
    ran = run(sys.executable, "-c", program)
    assert (ran.returncode, ran.stdout) == (0, "False\n"), ran.stderr

    profiles = {42: {"gender": "f", "age": 51, "interests": ["sport"]}, 5: {"gender": "m", "age": 20}}
    new = {"genre": ["Horror"], "price": 25.0}
    expected = [
        expected_ctr(
            item_id,
            ["3", "900"] if user_id == 42 else [],
            profile=profiles.get(user_id),
            context={} if hour is None else {"hour": hour},
            attributes=new if item_id == "900" else None,
            behaviour_attributes={1: new},
        )
        for user_id, item_id, hour, _ in rows
    ]
    scored = pl.read_parquet(out)
    assert scored.select("user_id", "item_id", "hour", "bid").rows() == rows
    assert scored["ctr"].to_list() == pytest.approx(expected, abs=1e-6)
    assert scored["ecpm"].to_list() == pytest.approx([ctr * row[3] for ctr, row in zip(expected, rows, strict=True)])
    assert {path.name for path in tmp_path.iterdir()} >= {"scored.parquet"} and not list(tmp_path.glob("*.unfinished"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"user_id": ["42"]}, "needs a column item_id"),
        ({"user_id": ["42"], "item_id": [None]}, "has 1 rows without item_id"),
    ],
)
def test_the_batch_job_says_what_is_wrong_with_its_pairs(
    bundle_path: Path, data: Path, tmp_path: Path, columns: Mapping[str, Sequence[Any]], said: str
) -> None:
    pairs = tmp_path / "pairs.parquet"
    pl.DataFrame(columns).write_parquet(pairs)
    arguments = ["--bundle", bundle_path, "--data", data, "--pairs", pairs, "--out", tmp_path / "scored.parquet"]
    ran = CliRunner().invoke(BATCH["app"], list(map(str, arguments)))
    assert ran.exit_code == 1
    assert said in ran.stderr
    assert not (tmp_path / "scored.parquet").exists()


def test_candidates_of_one_user_may_be_cut_anywhere() -> None:
    limit = BATCH["CANDIDATES_PER_RUN"]
    pairs = pl.DataFrame({"user_id": ["a"] * (2 * limit + 1), "item_id": ["1"] * (2 * limit + 1)})
    found = list(BATCH["runs"](pairs, []))
    assert [len(run.item_ids) for run in found] == [limit, limit, 1]
    assert pl.concat([run.rows for run in found]).to_list() == list(range(2 * limit + 1))


@pytest.mark.parametrize("path", sorted(EXAMPLES.iterdir()), ids=lambda path: path.name)
def test_an_example_says_how_to_run_it_and_readme_leads_to_it(path: Path) -> None:
    head = path.read_text(encoding="utf-8").partition('"""\n\n' if path.suffix == ".py" else "set -euo")[0]
    assert f"examples/{path.name}" in head
    assert f"(examples/{path.name})" in (ROOT / "README.md").read_text(encoding="utf-8")
