"""Redis goes away, hangs, and comes back."""

import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.fixtures.bundle import expected_ctr
from tests.fixtures.redis_server import RedisServer, run_redis
from tests.fixtures.service import RunningService, running_service

BEHAVIOUR = '{"item_id": "3", "timestamp": 1}'
ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}], "context": {"hour": "9"}}
EMPTY_HISTORY = expected_ctr("1", context={"hour": "9"})
WITH_HISTORY = expected_ctr("1", ["3"], context={"hour": "9"})


def arguments(directory: Path) -> Sequence[str]:
    """A server that is found again at the same place, and empty."""
    return ("--unixsocket", str(directory / "redis.sock"), "--save", "")


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that a test may stop."""
    with run_redis(tmp_path, *arguments(tmp_path)) as server:
        server.client.lpush("{u:42}:behaviours", BEHAVIOUR)
        yield server


@pytest.fixture
def service(bundle_path: Path, own_redis: RedisServer, tmp_path: Path) -> Iterator[RunningService]:
    with running_service(bundle_path, f"unix://{tmp_path}/redis.sock", redis_timeout_ms=500) as running:
        yield running


def assert_degraded(service: RunningService) -> None:
    before = {
        part: service.metric(f'dinrank_degraded_answers_total{{part="{part}"}}') for part in ("behaviours", "profile")
    }
    response = service.rank(ONE_AD)
    assert response.status_code == 200
    assert response.json()["degraded"] == ["behaviours", "profile"]
    assert response.json()["behaviours"] == 0
    assert response.json()["ads"][0]["ctr"] == pytest.approx(EMPTY_HISTORY, abs=1e-6)
    for part, count in before.items():
        assert service.metric(f'dinrank_degraded_answers_total{{part="{part}"}}') == count + 1


def test_without_redis_answers_are_degraded_and_readiness_says_so(
    service: RunningService, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    assert service.rank(ONE_AD).json()["ads"][0]["ctr"] == pytest.approx(WITH_HISTORY, abs=1e-6)
    own_redis.process.terminate()
    own_redis.process.wait()
    assert_degraded(service)
    assert [record.getMessage().split()[0] for record in caplog.records if record.name == "dinrank"] == ["degraded"]
    readiness = service.get("/readyz")
    assert readiness.status_code == 200
    assert readiness.json()["status"] == "degraded"
    assert readiness.json()["feature_store"] == "unavailable"
    assert service.get("/livez").json() == {"status": "alive"}
    assert service.metric('dinrank_requests_total{outcome="degraded"}') == 1


def test_a_redis_that_hangs_costs_the_timeout_and_no_more(service: RunningService, own_redis: RedisServer) -> None:
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        assert_degraded(service)
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    assert service.rank(ONE_AD).json()["degraded"] == []


def test_answers_are_full_again_when_redis_is_back(
    service: RunningService, own_redis: RedisServer, tmp_path: Path
) -> None:
    own_redis.process.terminate()
    own_redis.process.wait()
    assert_degraded(service)
    with run_redis(tmp_path, *arguments(tmp_path)) as again:
        again.client.lpush("{u:42}:behaviours", BEHAVIOUR)
        response = service.rank(ONE_AD)
        assert response.json()["degraded"] == []
        assert response.json()["ads"][0]["ctr"] == pytest.approx(WITH_HISTORY, abs=1e-6)
        assert service.get("/readyz").json()["status"] == "ready"


def test_the_service_starts_while_redis_is_away(bundle_path: Path, tmp_path: Path) -> None:
    with running_service(bundle_path, f"unix://{tmp_path}/nobody.sock") as service:
        assert_degraded(service)
