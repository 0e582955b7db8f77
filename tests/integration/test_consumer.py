"""Behaviours through a Redis Stream: nothing is lost and nothing counts twice, whatever dies in between."""

import asyncio
import json
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from dinrank.model.bundle.encoding import Encoder
from dinrank.service.consume import consumer
from dinrank.service.consume.consumer import MAX_EVENT_BYTES, Consumer
from dinrank.service.lineup.loading import BundleFollower, BundleLoader
from dinrank.service.store.behaviour_writer import BehaviourWriter
from dinrank.service.store.connection import connect
from dinrank.service.store.stream import BehaviourStream
from dinrank.service.telemetry.logs import Event
from tests.fixtures.bundle import expected_ctr, make_bundle, make_encoder
from tests.fixtures.command import ROOT, TIMEOUT_S, environment
from tests.fixtures.redis_server import RedisServer, frozen_redis, wait_until
from tests.fixtures.service import RunningService
from tests.integration.test_rank import body, candidate

STREAM, GROUP = "dinrank:behaviours", "dinrank"
ENCODER = make_encoder()
Client = redis.Redis | redis.RedisCluster


def event(number: int, *, user_id: str = "42", item_id: str = "3", **further: Any) -> dict[str, Any]:
    return {"event_id": f"e{number}", "user_id": user_id, "item_id": item_id, "timestamp": number} | further


def add(client: Client, *events: Any) -> None:
    for each in events:
        client.xadd(STREAM, {"event": each if isinstance(each, bytes) else json.dumps(each)})


def history(client: Client, user_id: str = "42") -> list[int]:
    """Timestamps, newest first."""
    return [json.loads(element)["timestamp"] for element in client.lrange(f"{{u:{user_id}}}:behaviours", 0, -1)]


def num_unfinished(client: Client) -> int:
    """Entries that nobody has got, or that nobody has acknowledged."""
    groups = client.xinfo_groups(STREAM)
    if not groups:
        return client.xlen(STREAM)
    unread = client.xrange(STREAM, min=f"({groups[0]['last-delivered-id'].decode()}")
    return len(unread) + int(groups[0]["pending"])


def consumed(url: str, until: Callable[[], bool], *names: str, timeout_ms: int = 10_000) -> None:
    """Let consumers of these names run here until something is so; entries left by others are taken over at once."""

    async def run() -> None:
        connections = [connect(url, timeout_ms=timeout_ms, max_connections=1) for _ in names]
        consumers = [
            Consumer(
                BehaviourStream(connection, stream=STREAM, group=GROUP, consumer=name),
                BehaviourWriter(connection, max_stored=1_000),
                lambda: ENCODER,
                abandoned_ms=0,
            )
            for name, connection in zip(names, connections, strict=True)
        ]
        tasks = [asyncio.create_task(each.run()) for each in consumers]
        await asyncio.to_thread(wait_until, until, "the consumers have done it")
        for each in consumers:
            each.stop()
        await asyncio.gather(*tasks)
        for connection in connections:
            await connection.aclose()

    asyncio.run(run())


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.msg.name for record in caplog.records if isinstance(record.msg, Event)]


@pytest.fixture
def seen_log(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("dinrank"), "propagate", True)
    caplog.set_level(logging.INFO, "dinrank")
    return caplog


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a consumer in this process ends soon after it is told to."""
    monkeypatch.setattr(consumer, "_BLOCK_MS", 50)


def test_what_is_added_to_the_stream_is_seen_by_the_next_ranking(
    service: RunningService, redis_server: RedisServer, redis_url: str
) -> None:
    client = redis_server.client
    new = event(3, item_id="newest", features={"genre": ["Horror"], "price": 25.0})
    add(client, event(2, item_id="2"), new, event(1, item_id="1"), event(2, item_id="2"))
    consumed(redis_url, lambda: num_unfinished(client) == 0, "one")
    answer = service.rank(body(candidate("1"))).json()
    expected = expected_ctr("1", ["1", "2", "newest"], behaviour_attributes={2: new["features"]})
    assert (answer["behaviours"], answer["ads"][0]["ctr"]) == (3, pytest.approx(expected, abs=1e-6))


@contextmanager
def client_of(url: str) -> Iterator[redis.RedisCluster]:
    host, port = url.rpartition("/")[2].split(":")
    client = redis.RedisCluster(host=host, port=int(port))
    try:
        yield client
    finally:
        client.close()


def test_a_cluster_has_streams_too(redis_cluster_url: str) -> None:
    with client_of(redis_cluster_url) as client:
        users = [str(number) for number in range(20)]
        add(client, b"no event", *(event(number, user_id=user) for user in users for number in (2, 1)))
        consumed(redis_cluster_url, lambda: num_unfinished(client) == 0, "one")
        assert [history(client, user) for user in users] == [[2, 1]] * len(users)
        assert client.xlen(f"{STREAM}:refused") == 1


def test_a_sentinel_leads_to_the_stream(redis_server: RedisServer, redis_sentinel_url: str) -> None:
    add(redis_server.client, event(1))
    consumed(redis_sentinel_url, lambda: history(redis_server.client) == [1], "one")


MALFORMED: list[tuple[dict[str, Any], bytes]] = [
    ({"event": "no json"}, b"Invalid JSON"),
    ({"event": "[]"}, b"object"),
    ({"event": json.dumps({"event_id": "e"})}, b"user_id: Field required"),
    ({"event": json.dumps(event(5) | {"timestamp": "noon"})}, b"timestamp: "),
    ({"event": json.dumps(event(5, features={"colour": "red"}))}, b"features.colour: 'colour' is no item feature"),
    ({"event": json.dumps(event(5))[:-1] + ', "user_id": "another"}'}, b"user_id: the key is there twice"),
    ({"event": b"\xff"}, b"Invalid JSON"),
    ({"event": "x" * (MAX_EVENT_BYTES + 1)}, b"more than 65536"),
    ({"other": "field"}, b"no field `event`"),
]


def test_malformed_entries_go_aside_with_their_reasons_and_hold_nobody_up(
    redis_server: RedisServer, redis_url: str
) -> None:
    client = redis_server.client
    add(client, event(1))
    entry_ids = [client.xadd(STREAM, fields) for fields, _ in MALFORMED]
    add(client, event(2))
    consumed(redis_url, lambda: num_unfinished(client) == 0, "one")
    assert history(client) == [2, 1]
    refused = [fields for _, fields in client.xrange(f"{STREAM}:refused")]
    assert [each[b"entry"] for each in refused] == entry_ids
    for each, (fields, reason) in zip(refused, MALFORMED, strict=True):
        assert reason in each[b"reason"]
        sent = fields.get("event", b"")
        assert each[b"event"] == (sent if isinstance(sent, bytes) else sent.encode())[:4_096]


def test_two_consumers_share_a_stream(redis_server: RedisServer, redis_url: str) -> None:
    client = redis_server.client
    client.xgroup_create(STREAM, GROUP, mkstream=True)
    pipeline = client.pipeline(transaction=False)
    for number in range(3_000):
        pipeline.xadd(STREAM, {"event": json.dumps(event(number, user_id=str(number % 7)))})
    pipeline.execute()
    consumed(redis_url, lambda: num_unfinished(client) == 0, "one", "two")
    stored = [timestamp for user in range(7) for timestamp in history(client, str(user))]
    assert sorted(stored) == list(range(3_000))
    assert {each["name"] for each in client.xinfo_consumers(STREAM, GROUP)} == {b"one", b"two"}


def test_what_a_dead_consumer_left_is_taken_over(redis_server: RedisServer, redis_url: str) -> None:
    client = redis_server.client
    add(client, *map(event, range(5)))
    client.xgroup_create(STREAM, GROUP, id="0")
    client.xreadgroup(GROUP, "the dead one", {STREAM: ">"}, count=3)
    client.xtrim(STREAM, maxlen=4, approximate=False)  # one of the three is gone for good
    consumed(redis_url, lambda: num_unfinished(client) == 0, "one")
    assert history(client) == [4, 3, 2, 1]
    [(_, refused)] = client.xrange(f"{STREAM}:refused")
    assert b"cut off the stream before it was read" in refused[b"reason"]


def test_redis_away_is_waited_for_and_said_once(
    redis_server: RedisServer, redis_url: str, seen_log: pytest.LogCaptureFixture
) -> None:
    client = redis_server.client

    def outage_over() -> bool:
        if "store_away" not in lines(seen_log):
            with frozen_redis():
                wait_until(lambda: "store_away" in lines(seen_log), "it is noticed")
        return "store_back" in lines(seen_log) and num_unfinished(client) == 0

    add(client, *map(event, range(3)))
    consumed(redis_url, outage_over, "one", timeout_ms=1_200)
    assert history(client) == [2, 1, 0]
    said = lines(seen_log)
    assert (said.count("store_away"), said.count("store_back"), said[-1]) == (1, 1, "consumer_stopped")


def test_redis_without_memory_is_waited_for_with_the_batch_kept(
    redis_server: RedisServer, redis_url: str, seen_log: pytest.LogCaptureFixture
) -> None:
    client = redis_server.client
    client.xgroup_create(STREAM, GROUP, mkstream=True)
    add(client, *map(event, range(3)))
    client.config_set("maxmemory", 1)

    def mended() -> bool:
        if "store_away" in lines(seen_log):
            client.config_set("maxmemory", 0)
        return "store_back" in lines(seen_log) and num_unfinished(client) == 0

    try:
        consumed(redis_url, mended, "one")
    finally:
        client.config_set("maxmemory", 0)
    assert history(client) == [2, 1, 0]


def test_a_stream_that_redis_lost_is_begun_anew(redis_server: RedisServer, redis_url: str) -> None:
    client = redis_server.client

    def consumed_after_a_loss() -> bool:
        if not client.exists("lost") and client.exists(STREAM):
            client.delete(STREAM)
            client.set("lost", 1)
            add(client, event(1))
        return history(client) == [1]

    consumed(redis_url, consumed_after_a_loss, "one")


def test_another_bundle_is_followed_and_a_bad_one_is_not(
    tmp_path: Path, seen_log: pytest.LogCaptureFixture, loader: BundleLoader
) -> None:
    make_bundle(tmp_path / "old")
    make_bundle(tmp_path / "new", shift=1.0)
    (tmp_path / "bad").mkdir()
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "old")
    follower = BundleFollower(current, loader, poll_ms=1)
    first = follower.encoder()

    def follows(target: str, said: str) -> Encoder:
        current.unlink()
        current.symlink_to(tmp_path / target)
        wait_until(lambda: follower.encoder() is not None and said in lines(seen_log), said)
        return follower.encoder()

    assert follows("bad", "bundle_refused") is first
    assert follows("new", "bundle_followed") is not first


@contextmanager
def consume_command(directory: Path, bundle: Path, url: str, *flags: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "service", "consume", "--bundle", str(bundle), "--redis", url, *flags]
    with (directory / "consume.log").open("ab") as log:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(directory), stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait(TIMEOUT_S)


def test_a_consumer_killed_between_writing_and_acknowledging_loses_nothing_and_doubles_nothing(
    bundle_path: Path, tmp_path: Path, redis_server: RedisServer
) -> None:
    client = redis_server.client
    client.execute_command("ACL", "SETUSER", "hindered", "on", ">secret", "~*", "+@all", "-xack")
    url = f"redis://hindered:secret@127.0.0.1:{redis_server.port}"
    add(client, *map(event, range(20)))
    name, log = ("--consumer", "one"), tmp_path / "consume.log"
    try:
        with consume_command(tmp_path, bundle_path, url, *name) as process:
            wait_until(lambda: process.poll() is not None or "store_away" in log.read_text(), "XACK is refused")
            process.send_signal(signal.SIGKILL)
        assert history(client) == list(range(19, -1, -1))
        assert num_unfinished(client) == 20
        client.execute_command("ACL", "SETUSER", "hindered", "+xack")
        add(client, event(20))
        with consume_command(tmp_path, bundle_path, url, *name) as process:
            wait_until(lambda: process.poll() is not None or num_unfinished(client) == 0, "all are acknowledged")
            process.send_signal(signal.SIGTERM)
            assert process.wait(TIMEOUT_S) == 0
    finally:
        client.execute_command("ACL", "DELUSER", "hindered")
    assert history(client) == list(range(20, -1, -1))
    assert 'consumer_stopped accepted="1" duplicates="20" too_old="0" other_unit="0" refused="0"' in log.read_text()
    assert "secret" not in log.read_text()
