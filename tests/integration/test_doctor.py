"""The doctor on real Redis servers, well and ill, and as a command."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.schema import FeatureSchema
from dinrank.service.cli import app
from dinrank.service.doctor.feature_store import check_feature_store, latency_finding, sample_findings, server_findings
from dinrank.service.doctor.report import Finding, Level
from dinrank.service.settings import Settings
from dinrank.service.store import user_data
from dinrank.service.store.connection import connect
from dinrank.service.store.embedded import embedded_redis
from dinrank.service.store.inspection import Server, StoredSample
from dinrank.service.store.layout import behaviours_key, encode_behaviour
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from tests.fixtures.redis_server import RedisServer


def look(redis: str, bundle: Path, **settings: Any) -> list[Finding]:
    chosen = Settings.read(bundle=bundle, redis=redis, redis_timeout_ms=5_000, **settings)
    return check_feature_store(chosen, open_bundle(bundle))


def one(findings: list[Finding], words: str) -> Finding:
    """The finding that says so."""
    found = [finding for finding in findings if words in finding.message]
    assert len(found) == 1, findings
    return found[0]


def store(server: RedisServer, user: str, *items: str, timestamp: float = 3) -> None:
    for item in items:
        server.client.lpush(behaviours_key(user), encode_behaviour(item, timestamp))


@contextmanager
def configured(server: RedisServer, **options: str) -> Iterator[None]:
    before = {name: server.client.config_get(name)[name] for name in options}
    for name, value in options.items():
        server.client.config_set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            server.client.config_set(name, value)


async def publish(url: str, schema: FeatureSchema, users: list[UserRecord]) -> None:
    connection = connect(url, timeout_ms=5_000, max_connections=1)
    try:
        await RedisFeatureWriter(connection, schema).write_users(users)
    finally:
        await connection.aclose()


def test_users_and_their_behaviours_are_found_and_the_bundle_knows_their_items(
    any_redis_url: str, bundle_path: Path
) -> None:
    behaviours = [TimedBehaviour(item, 3, {}) for item in (*["1", "2"] * 5, "brand new")]
    records = [UserRecord(f"user {number}", behaviours, {}) for number in range(3)]
    asyncio.run(publish(any_redis_url, open_bundle(bundle_path).schema, records))
    findings = look(any_redis_url, bundle_path)
    assert one(findings, "3 users have behaviours; 3 of them were read").level is Level.OK
    assert one(findings, "the bundle knows the items of 90.9% of 33 sampled behaviours").level is Level.OK
    num_servers = 2 if "cluster" in any_redis_url else 1
    assert sum("no user is evicted" in finding.message for finding in findings) == num_servers
    assert sum("clocks of Redis and of this machine agree" in finding.message for finding in findings) == num_servers


def test_of_very_many_users_some_are_counted(
    redis_server: RedisServer, redis_url: str, bundle_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_data, "_MOST_COUNTED", 3)
    for number in range(5):
        store(redis_server, f"u{number}", "1")
    assert one(look(redis_url, bundle_path), "at least 3 users have behaviours").level is Level.OK


async def _look_for_users(url: str, **limits: float) -> user_data.StoredUsers:
    connection = connect(url, timeout_ms=5_000, max_connections=1)
    try:
        found = await user_data.stored_users(connection, **limits)  # type: ignore[arg-type]
        await connection.ping()  # a look that was cut short leaves a connection that works
        return found
    finally:
        await connection.aclose()


def test_a_look_among_very_many_other_keys_ends_in_time(redis_server: RedisServer, redis_url: str) -> None:
    redis_server.client.mset({f"other:{number}": b"" for number in range(200_000)})
    store(redis_server, "u", "1")
    cut_short = asyncio.run(_look_for_users(redis_url, longest_s=0.001))
    assert not cut_short.is_complete
    whole = asyncio.run(_look_for_users(redis_url))
    assert (whole.keys, whole.is_complete) == (frozenset({behaviours_key("u")}), True)


def test_a_url_that_names_no_redis_is_wrong_and_says_what_is_accepted(bundle_path: Path) -> None:
    [finding] = look("http://127.0.0.1", bundle_path)
    assert finding.level is Level.WRONG
    assert "redis+cluster://" in finding.message


@contextmanager
def login(server: RedisServer, rule: str) -> Iterator[str]:
    """A URL with the login of an ACL line, for as long as the block."""
    _, name, *rules = rule.split()
    server.client.execute_command("ACL", "SETUSER", name, *rules)
    password = next(part[1:] for part in rules if part.startswith(">"))
    try:
        yield f"redis://{name}:{password}@127.0.0.1:{server.port}"
    finally:
        server.client.execute_command("ACL", "DELUSER", name)


def test_the_documented_login_may_look_at_everything(redis_server: RedisServer, bundle_path: Path) -> None:
    security = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
    [rule] = re.findall(r"^user dinrank-doctor .*$", security, flags=re.MULTILINE)
    store(redis_server, "u", "1")
    with login(redis_server, rule) as url:
        findings = look(url, bundle_path)
    assert one(findings, "1 users have behaviours; 1 of them were read").level is Level.OK
    assert one(findings, "nothing is kept on disk")  # which CONFIG GET says
    assert not any("may not" in finding.message for finding in findings)


def test_what_a_login_may_not_ask_is_said_with_the_rights_that_it_lacks(
    redis_server: RedisServer, bundle_path: Path
) -> None:
    with login(redis_server, "user reader on >secret resetkeys -@all ~{u:*}:behaviours +lrange +hgetall +ping") as url:
        refused = [finding for finding in look(url, bundle_path) if "this login may not" in finding.message]
    assert [finding.level for finding in refused] == [Level.WARNING] * 2
    assert "+info, +config|get and +time" in refused[0].remedy
    assert "list users" in refused[1].message


def test_a_closed_port_is_wrong(bundle_path: Path) -> None:
    [finding] = look("redis://127.0.0.1:1", bundle_path)
    assert (finding.level, finding.message.startswith("Redis at 127.0.0.1:1: Redis cannot be used")) == (
        Level.WRONG,
        True,
    )
    assert "DINRANK_REDIS" in finding.remedy


def test_a_wrong_password_is_wrong_and_never_printed(redis_tcp_url: str, bundle_path: Path) -> None:
    [finding] = look(redis_tcp_url.replace("127.0.0.1", "nobody:hunter2@127.0.0.1"), bundle_path)
    assert finding.level is Level.WRONG
    assert "mend user and password" in finding.remedy
    assert "hunter2" not in finding.message


@pytest.mark.parametrize(("maxmemory", "level"), [("100mb", Level.WRONG), ("0", Level.WARNING)])
def test_a_redis_that_evicts_users_is_found(
    maxmemory: str, level: Level, redis_server: RedisServer, redis_url: str, bundle_path: Path
) -> None:
    with configured(redis_server, **{"maxmemory-policy": "allkeys-lru", "maxmemory": maxmemory}):
        finding = one(look(redis_url, bundle_path), "maxmemory-policy is allkeys-lru")
    assert finding.level is level
    assert "noeviction" in finding.remedy


def test_a_full_redis_is_a_warning(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    used = redis_server.client.info("memory")["used_memory"]
    with configured(redis_server, maxmemory=str(int(used * 1.05))):
        assert one(look(redis_url, bundle_path), "what is full refuses").level is Level.WARNING


def test_what_is_kept_on_disk_is_told(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    assert one(look(redis_url, bundle_path), "nothing is kept on disk").level is Level.WARNING
    with configured(redis_server, save="3600 1"):
        assert one(look(redis_url, bundle_path), "snapshots are saved").level is Level.OK


def test_no_users_is_a_warning_that_says_how_to_publish(redis_url: str, bundle_path: Path) -> None:
    assert "python -m service publish" in one(look(redis_url, bundle_path), "no user has behaviours").remedy


def test_behaviours_of_other_data_are_wrong(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    store(redis_server, "u", "item-1", "item-2")
    assert one(look(redis_url, bundle_path), "knows the items of 0.0% of 2").level is Level.WRONG
    store(redis_server, "u", "1")
    assert one(look(redis_url, bundle_path), "knows the items of 33.3% of 3").level is Level.WARNING


def test_behaviours_that_cannot_be_read_are_wrong(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    store(redis_server, "u", "1")
    redis_server.client.lpush(behaviours_key("u"), b"no JSON")
    redis_server.client.set(behaviours_key("v"), b"no list")
    assert one(look(redis_url, bundle_path), "2 of 3 sampled behaviours cannot be read").level is Level.WRONG


def test_behaviours_in_the_future_are_a_warning(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    store(redis_server, "u", "1", timestamp=time.time() - 86_400)
    assert one(look(redis_url, bundle_path), "newest sampled behaviour is 1.0 days old").level is Level.OK
    store(redis_server, "v", "1", timestamp=time.time() + 7_200)
    assert one(look(redis_url, bundle_path), "7,200 s in the future").level is Level.WARNING


def test_behaviours_in_another_unit_than_most_are_a_warning(
    redis_server: RedisServer, redis_url: str, bundle_path: Path
) -> None:
    for number in range(3):
        store(redis_server, f"u{number}", "1", timestamp=time.time() - 86_400)
    store(redis_server, "milliseconds", "1", timestamp=1_000 * time.time())
    store(redis_server, "of 1999", "1", timestamp=9.2e8)
    finding = one(look(redis_url, bundle_path), "of 1 of 5 sampled users is in another unit")
    assert finding.level is Level.WARNING


def test_old_behaviours_are_in_no_other_unit(redis_server: RedisServer, redis_url: str, bundle_path: Path) -> None:
    for user, timestamp in (("of 1999", 9.2e8), ("of 2011", 1.3e9), ("of 2012", 1.34e9)):
        store(redis_server, user, "1", timestamp=timestamp)
    assert one(look(redis_url, bundle_path), "newest sampled behaviour is").level is Level.OK


def test_a_look_that_found_nobody_in_time_does_not_say_that_there_is_nobody() -> None:
    [finding] = sample_findings(StoredSample(0, is_complete=False), None, now_s=0.0)
    assert (finding.level, "no user was found in the time of the look" in finding.message) == (Level.WARNING, True)


def test_a_slow_redis_is_measured_against_the_time_that_the_service_waits() -> None:
    fast, slow = [1.0] * 19, [30.0] * 19
    assert latency_finding("server x", [*fast, 10.0], 50).level is Level.OK
    assert latency_finding("server x", [*fast, 40.0], 50).level is Level.WARNING
    assert latency_finding("server x", [*slow, 40.0], 20).level is Level.WRONG


@pytest.mark.parametrize(
    ("server", "words", "level"),
    [
        (Server("", {"redis_version": "6.0.16"}, "", 0.0), "Redis 6.0.16 is too old", Level.WRONG),
        (Server("", {"redis_version": "6.2.7"}, "", 0.0), "Redis 6.2.7", Level.OK),
        (
            Server("h:1", {"redis_version": "10.0"}, "", -61.0),
            "server h:1: the clock of Redis is 61 s behind",
            Level.WARNING,
        ),
        (Server("", {"redis_version": "8.0", "aof_enabled": 1}, "", 0.0), "append-only file", Level.OK),
        (
            Server("", {"redis_version": "8.0", "aof_enabled": 1, "aof_last_write_status": "err"}, "", 0.0),
            "the last write of its append-only file failed",
            Level.WRONG,
        ),
        (
            Server("", {"redis_version": "8.0", "rdb_last_bgsave_status": "err"}, "1 1", 0.0),
            "snapshot failed",
            Level.WRONG,
        ),
    ],
)
def test_what_a_server_says_of_itself_is_judged(server: Server, words: str, level: Level) -> None:
    assert one(server_findings(server), words).level is level


def test_the_embedded_redis_is_looked_at_whether_it_runs_or_not(bundle_path: Path, tmp_path: Path) -> None:
    data = tmp_path / "redis"
    assert one(look("embedded", bundle_path, redis_data_dir=data), "has no data yet").level is Level.WARNING
    assert not data.exists()
    with embedded_redis(data):
        findings = look("embedded", bundle_path, redis_data_dir=data)
    assert one(findings, "the embedded Redis runs already").level is Level.OK
    assert one(findings, "every change is written to an append-only file").level is Level.OK
    findings = look("embedded", bundle_path, redis_data_dir=data)
    assert one(findings, "every change is written to an append-only file").level is Level.OK


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", "--port", "0", "--workers", "1", *arguments])
    return result.exit_code, result.output


def test_the_command_ends_with_0_for_what_works_and_with_1_for_what_does_not(
    bundle_path: Path, redis_url: str, tmp_path: Path
) -> None:
    code, output = run("--bundle", str(bundle_path), "--redis", redis_url)
    assert code == 0, output
    assert "nothing is wrong; 2 warnings" in output  # no users, and nothing on disk
    assert "-> python -m service publish" in output
    code, output = run("--bundle", str(tmp_path / "none"), "--redis", redis_url)
    assert code == 1
    assert "wrong    bundle" in output
    assert output.splitlines()[-1].startswith("1 thing is wrong; ")


def test_programs_get_one_document(bundle_path: Path) -> None:
    code, output = run("--bundle", str(bundle_path), "--redis", "redis://127.0.0.1:1", "--json")
    document = json.loads(output)
    assert (code, document["status"]) == (1, "wrong")
    assert {"check", "level", "message", "remedy"} == set(document["findings"][0])
    checks = {finding["check"] for finding in document["findings"]}
    assert checks == {"bundle", "redis", "access", "admin", "port", "workers", "files", "libraries"}
