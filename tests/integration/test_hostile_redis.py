"""The whole service with something at Redis's port that is no Redis, and with elements that nobody should store."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.contract.test_hostile_store import DEEP, WRONG
from tests.fixtures.hostile_redis import HostileRedis, hostile_redis
from tests.fixtures.redis_server import RedisServer
from tests.fixtures.service import RunningService, running_service

RANK = {"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1.0}, {"ad_id": "new", "bid": 1.0}]}
EVENT = {"event_id": "a", "user_id": "1", "item_id": "1", "timestamp": 1}
CALLS: Sequence[tuple[str, str, object]] = [
    ("GET", "/users/1", None),
    ("POST", "/behaviours", {"events": [EVENT]}),
    ("GET", "/readyz", None),
    ("GET", "/playground/users", None),
]


@pytest.fixture(scope="module")
def server() -> Iterator[HostileRedis]:
    with hostile_redis() as server:
        yield server


@pytest.fixture(scope="module")
def beside_it(bundle_path: Path, server: HostileRedis) -> Iterator[RunningService]:
    settings = {"redis_timeout_ms": 2_000, "breaker_failures": 1_000_000}
    with running_service(bundle_path, server.url, **settings) as running:
        yield running


@pytest.mark.parametrize("wrong", WRONG)
def test_replies_of_the_wrong_type_make_answers_degraded_and_never_an_error(
    server: HostileRedis, beside_it: RunningService, wrong: str
) -> None:
    server.reply = lambda command: WRONG[wrong]
    malformed = 'dinrank_store_failures_total{kind="malformed"}'
    before = beside_it.metric(malformed)
    answer = beside_it.rank(RANK)
    assert answer.status_code == 200
    assert answer.json()["degraded"] == ["behaviours", "profile", "ads"]
    assert beside_it.metric(malformed) == before + 1
    for method, path, body in CALLS:
        answer = beside_it.request(method, path, json=body)
        assert answer.status_code in (200, 503), (path, answer.text)
        assert len(answer.content) < 2_000
    answer = beside_it.request("GET", "/users/1")
    assert answer.status_code == 503
    assert answer.json()["type"] == "urn:dinrank:problem:feature-store-unavailable"


UNREADABLE = [
    DEEP,
    b'{"item_id":"1","timestamp":1e400}',
    b'{"item_id":"1","timestamp":%s}' % (b"9" * 400),
    b'{"item_id":"1","timestamp":NaN}',
    b'{"item_id":"\\ud800","timestamp":1}',
    b'{"item_id":"\xed\xa0\x80","timestamp":1}',
    b'{"item_id":"1"} {"item_id":"2"}',
    b'["item_id"]',
    b"",
]


def test_elements_that_no_reader_could_read_are_left_out_of_a_user(
    service: RunningService, redis_server: RedisServer
) -> None:
    plain, odd = b'{"item_id":"1","timestamp":1}', b'{"item_id":"2","item_id":"3","timestamp":%s}' % (b"9" * 30)
    redis_server.client.rpush("{u:42}:behaviours", odd, *UNREADABLE, plain)
    answer = service.get("/users/42")
    assert answer.status_code == 200
    user = json.loads(answer.content)
    assert user["behaviours"] == [
        {"item_id": "1", "timestamp": 1},
        {"item_id": "3", "timestamp": 1e30},  # of a repeated name the last, as in rankings
    ]
    assert (user["num_behaviours"], user["num_malformed"]) == (2 + len(UNREADABLE), len(UNREADABLE))
    assert service.rank({"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}).json()["degraded"] == []
