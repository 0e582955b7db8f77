"""A real Redis that fails in every way that is promised to be lived with, and a service that recovers by itself."""

import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.bundle import expected_ctr
from tests.fixtures.redis_server import RedisServer, run_redis, wait_until
from tests.fixtures.service import RunningService, running_service

TIMEOUT_MS = 300
FAILURES = 3
OPEN_MS = 300
BEHAVIOUR = '{"item_id": "3", "timestamp": 1}'
ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}], "context": {"hour": "9"}}
WITHOUT_HISTORY = expected_ctr("1", context={"hour": "9"})
WITH_HISTORY = expected_ctr("1", ["3"], context={"hour": "9"})

Fault = Callable[[RedisServer], Any]


@contextmanager
def serving(bundle: Path, url: str, **settings: Any) -> Iterator[RunningService]:
    patient = {"redis_timeout_ms": TIMEOUT_MS, "breaker_failures": FAILURES, "breaker_open_ms": OPEN_MS} | settings
    with running_service(bundle, url, **patient) as running:
        yield running


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may spoil, with one user."""
    with run_redis(tmp_path, "--save", "", "--unixsocket", str(tmp_path / "redis.sock")) as server:
        server.client.lpush("{u:42}:behaviours", BEHAVIOUR)
        yield server


@pytest.fixture
def service(bundle_path: Path, own_redis: RedisServer) -> Iterator[RunningService]:
    with serving(bundle_path, f"redis://127.0.0.1:{own_redis.port}") as running:
        yield running


def is_full(service: RunningService) -> bool:
    """Whether an answer has the history; if not it must be the promised degraded one."""
    response = service.rank(ONE_AD)
    assert response.status_code == 200, response.text
    document = response.json()
    [ad] = document["ads"]
    if document["degraded"] == ["behaviours", "profile"]:
        assert document["behaviours"] == 0
        assert ad["ctr"] == pytest.approx(WITHOUT_HISTORY, abs=1e-6)
        return False
    assert document["degraded"] == []
    assert ad["ctr"] == pytest.approx(WITH_HISTORY, abs=1e-6)
    return True


def recovers(service: RunningService) -> None:
    wait_until(lambda: is_full(service), "answers are full again")


def failures(service: RunningService, kind: str) -> float:
    return service.metric(f'dinrank_store_failures_total{{kind="{kind}"}}')


def num_clients(server: RedisServer) -> int:
    """Connections to the server, that of the tests included."""
    return len(server.client.client_list())


@contextmanager
def standing_still(server: RedisServer) -> Iterator[None]:
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_a_dead_redis_costs_its_timeout_a_few_times_and_then_nothing(
    service: RunningService, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert is_full(service)
    clients = num_clients(own_redis)
    with standing_still(own_redis):
        assert [is_full(service) for _ in range(FAILURES)] == [False] * FAILURES
        assert failures(service, "timeout") == FAILURES
        assert service.metric("dinrank_breaker_open") == 1
        started_s, num_asked = time.monotonic(), 0
        while time.monotonic() < started_s + 2.5 * OPEN_MS / 1_000:
            assert not is_full(service)
            num_asked += 1
        # Each time the breaker lets one through it waits for the time-out, and so does this loop.
        assert failures(service, "timeout") <= FAILURES + 2
        assert failures(service, "breaker") >= num_asked - 2
    recovers(service)
    assert service.metric("dinrank_breaker_open") == 0
    assert num_clients(own_redis) == clients
    events = [record.getMessage().split()[0] for record in caplog.records if record.name == "dinrank"]
    assert events.count("degraded") == failures(service, "timeout")
    assert (events.count("breaker_opened"), events.count("breaker_closed")) == (1, 1)


def test_a_redis_that_pauses_is_waited_out(service: RunningService, own_redis: RedisServer) -> None:
    own_redis.client.client_pause(3 * TIMEOUT_MS, all=True)
    assert not is_full(service)
    recovers(service)


def test_readiness_says_degraded_at_once_while_the_breaker_is_open(bundle_path: Path, own_redis: RedisServer) -> None:
    url = f"redis://127.0.0.1:{own_redis.port}"
    with (
        serving(bundle_path, url, redis_timeout_ms=500, breaker_failures=1, breaker_open_ms=600_000) as service,
        standing_still(own_redis),
    ):
        assert not is_full(service)
        started_s = time.monotonic()
        statuses = [service.get("/readyz").json()["status"] for _ in range(40)]
        assert time.monotonic() - started_s < 40 * 0.5 / 2  # asked each time, it would have been twice as long
        assert statuses == ["degraded"] * 40


def test_a_restarted_redis_is_used_again_and_no_connection_is_left_over(bundle_path: Path, tmp_path: Path) -> None:
    arguments = ("--unixsocket", str(tmp_path / "redis.sock"), "--save", "")
    with serving(bundle_path, f"unix://{tmp_path}/redis.sock") as service:
        for _ in range(2):
            with run_redis(tmp_path, *arguments) as server:
                server.client.lpush("{u:42}:behaviours", BEHAVIOUR)
                recovers(service)
                assert num_clients(server) == 2  # the tests' own and one of the service
            for _ in range(2 * FAILURES):
                assert not is_full(service)
        assert failures(service, "unreachable") >= 2 * FAILURES


def test_a_redis_out_of_memory_still_answers_in_full(service: RunningService, own_redis: RedisServer) -> None:
    own_redis.client.config_set("maxmemory", 1)
    assert is_full(service)


def test_a_read_only_replica_answers_in_full(bundle_path: Path, own_redis: RedisServer, tmp_path: Path) -> None:
    home = tmp_path / "replica"
    home.mkdir()
    with run_redis(home, "--save", "", "--replicaof", "127.0.0.1", str(own_redis.port)) as replica:
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica has its copy")
        assert replica.client.config_get("replica-read-only") == {"replica-read-only": "yes"}
        with serving(bundle_path, f"redis://127.0.0.1:{replica.port}") as service:
            assert is_full(service)


def test_a_wrong_password_degrades_and_is_never_shown(
    bundle_path: Path, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    own_redis.client.config_set("requirepass", "mellon")
    with serving(bundle_path, f"redis://:friend@127.0.0.1:{own_redis.port}") as service:
        assert not is_full(service)
        assert failures(service, "refused") == 1
        assert "friend" not in caplog.text
        own_redis.client.config_set("requirepass", "friend")
        recovers(service)


def test_a_key_of_another_type_counts_as_empty_and_the_rest_is_read(
    service: RunningService, own_redis: RedisServer
) -> None:
    own_redis.client.set("{u:42}:profile", "no hash")
    assert is_full(service)
    assert service.metric("dinrank_malformed_elements_total") == 1
    assert service.metric("dinrank_breaker_open") == 0


@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.api+json"], ids=["one pass", "route"])
def test_where_degraded_answers_are_not_wanted_requests_are_refused(
    bundle_path: Path, own_redis: RedisServer, content_type: str
) -> None:
    with serving(bundle_path, f"redis://127.0.0.1:{own_redis.port}", redis_failure="refuse") as service:
        assert is_full(service)
        with standing_still(own_redis):
            for _ in range(FAILURES + 1):
                response = service.rank(ONE_AD, Content_Type=content_type)
                assert response.status_code == 503
                assert response.json()["type"] == "urn:dinrank:problem:feature-store-unavailable"
                assert response.headers["Retry-After"] == "1"
        assert failures(service, "timeout") == FAILURES
        assert service.metric('dinrank_degraded_answers_total{part="behaviours"}') == 0
        assert service.metric('dinrank_requests_total{outcome="feature-store-unavailable"}') == FAILURES + 1
        wait_until(lambda: service.rank(ONE_AD).status_code == 200, "requests are answered again")


def sentinel_config(directory: Path, master: RedisServer) -> str:
    config = directory / "sentinel.conf"
    lines: Sequence[str] = (
        f"sentinel monitor ads 127.0.0.1 {master.port} 1",
        "sentinel down-after-milliseconds ads 300",
        "sentinel failover-timeout ads 2000",
    )
    config.write_text("\n".join(lines) + "\n")
    return str(config)


@pytest.mark.parametrize("fault", ["killed", "silent"])
def test_a_sentinel_failover_under_load_costs_histories_for_a_while_and_no_request(
    bundle_path: Path, own_redis: RedisServer, tmp_path: Path, fault: str
) -> None:
    homes = [tmp_path / "replica", tmp_path / "sentinel"]
    for home in homes:
        home.mkdir()
    with run_redis(homes[0], "--save", "", "--replicaof", "127.0.0.1", str(own_redis.port)) as replica:
        wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica has its copy")
        with (
            run_redis(homes[1], sentinel_config(homes[1], own_redis), "--sentinel") as sentinel,
            serving(bundle_path, f"redis+sentinel://127.0.0.1:{sentinel.port}/ads") as service,
        ):
            wait_until(lambda: is_full(service), "the Sentinel knows the master")
            wait_until(lambda: bool(sentinel.client.sentinel_slaves("ads")), "the Sentinel knows the replica")
            if fault == "killed":
                own_redis.process.kill()
            else:
                own_redis.process.send_signal(signal.SIGSTOP)
            try:
                wait_until(lambda: not is_full(service), "the master is missed")
                recovers(service)
                assert replica.client.info("replication")["role"] == "master"
                assert service.metric("dinrank_breaker_open") == 0
            finally:
                if fault == "silent":
                    own_redis.process.kill()
