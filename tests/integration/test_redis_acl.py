"""The Redis users in SECURITY.md have the rights that those need who are named there, and no more."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError

from dinrank.model.bundle.reader import open_bundle
from dinrank.service.errors import FeatureStoreUnavailable
from dinrank.service.publish.publisher import publish
from dinrank.service.store.user_data import published_user_ids
from tests.fixtures.redis_server import RedisServer, run_redis
from tests.fixtures.service import ADMIN, RunningService, running_service
from tests.integration.test_cli import write_dataset
from tests.integration.test_consumer import consumed

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
EVENT = {"event_id": "e1", "user_id": "7", "item_id": "3", "timestamp": 978300760}
ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}, {"ad_id": "900", "bid": 1.0}]}


def acl_lines() -> list[str]:
    """As the document has them."""
    [block] = [
        block for block in re.findall(r"```text\n(.*?)```", SECURITY, flags=re.DOTALL) if "user default" in block
    ]
    return block.splitlines()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server that knows these users alone; its fixture's own connection was there before."""
    with run_redis(tmp_path_factory.mktemp("acl"), "--save", "") as running:
        for line in acl_lines():
            command, *rule = line.split()
            assert command == "user"
            running.client.execute_command("ACL", "SETUSER", *rule)
        yield running


def url_of(server: RedisServer, name: str) -> str:
    return f"redis://dinrank-{name}:change-me-{name}@127.0.0.1:{server.port}"


def client_of(server: RedisServer, name: str) -> redis.Redis:
    return redis.Redis(
        port=server.port, username=f"dinrank-{name}", password=f"change-me-{name}", protocol=2, retry=None
    )


@pytest.fixture(scope="module")
def published(server: RedisServer, bundle_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    data = write_dataset(tmp_path_factory.mktemp("data") / "data")
    report = publish(open_bundle(bundle_path), data, url_of(server, "publisher"))
    assert (report.num_users, report.num_behaviours, report.num_ads) == (1, 2, 1)
    return server


@pytest.fixture(scope="module")
def service(published: RedisServer, bundle_path: Path) -> Iterator[RunningService]:
    with running_service(bundle_path, url_of(published, "service"), redis_timeout_ms=5_000) as running:
        yield running


def test_the_publisher_may_publish_and_the_service_may_read_it(service: RunningService) -> None:
    assert service.get("/readyz").json()["feature_store"] == "available"
    answer = service.rank(ONE_AD).json()
    assert (answer["behaviours"], answer["degraded"]) == (2, [])


def test_the_load_generator_may_look_who_there_is(published: RedisServer) -> None:
    assert published_user_ids(url_of(published, "load")) == ["42"]


def test_a_service_that_can_only_read_shows_users_and_takes_no_behaviours(service: RunningService) -> None:
    assert service.get("/users/42").json()["num_behaviours"] == 2
    response = service.request("POST", "/behaviours", json={"events": [EVENT]})
    assert (response.status_code, "no permissions" in response.json()["detail"]) == (503, True)
    assert service.request("DELETE", "/users/42", headers=ADMIN).status_code == 503
    assert service.rank(ONE_AD).json()["behaviours"] == 2


def test_the_live_service_may_take_behaviours_and_remove_users(published: RedisServer, bundle_path: Path) -> None:
    with running_service(bundle_path, url_of(published, "live"), redis_timeout_ms=5_000) as service:
        many = [EVENT | {"event_id": f"e{number}", "timestamp": number} for number in range(60)]
        late, later = EVENT | {"event_id": "late", "timestamp": 0.5}, EVENT | {"event_id": "later", "timestamp": 57.5}
        for events in (many, [late], [later], many):  # all ways through the script
            assert service.request("POST", "/behaviours", json={"events": events}).status_code == 200
        assert service.rank(ONE_AD | {"user_id": "7"}).json()["behaviours"] == 5
        assert service.get("/users/7").json()["num_event_ids"] == 62
        assert service.request("DELETE", "/users/7", headers=ADMIN).json()["num_behaviours"] == 62


def test_the_publisher_may_publish_over_live_behaviours(
    published: RedisServer, bundle_path: Path, tmp_path: Path
) -> None:
    with running_service(bundle_path, url_of(published, "live"), redis_timeout_ms=5_000) as service:
        sent = {"events": [EVENT | {"user_id": "42"}]}
        assert service.request("POST", "/behaviours", json=sent).json()["accepted"] == 1
        publish(open_bundle(bundle_path), write_dataset(tmp_path / "data"), url_of(published, "publisher"))
        assert service.get("/users/42").json()["num_behaviours"] == 3
        service.request("DELETE", "/users/42", headers=ADMIN)
        publish(open_bundle(bundle_path), tmp_path / "data", url_of(published, "publisher"))


def test_the_consumer_may_consume_what_the_producer_adds(published: RedisServer) -> None:
    with client_of(published, "producer") as producer:
        for event in (json.dumps(EVENT | {"user_id": "8"}), "no event"):
            producer.xadd("dinrank:behaviours", {"event": event})
    with client_of(published, "live") as reader:
        consumed(url_of(published, "consumer"), lambda: reader.llen("{u:8}:behaviours") == 1, "one")


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("service", "RPUSH {u:42}:behaviours x"),
        ("service", "DEL {u:42}:behaviours"),
        ("service", "HSET {u:42}:profile gender f"),
        ("service", "HGETALL somebody:else"),
        ("service", "SCAN 0"),
        ("service", "KEYS *"),
        ("service", "FLUSHALL"),
        ("service", "CONFIG GET requirepass"),
        ("service", "EVAL return(1) 0"),
        ("service", "LPUSH {u:42}:behaviours x"),
        ("service", "XADD dinrank:behaviours * event x"),
        ("live", "SCAN 0"),
        ("live", "HSET {u:42}:profile gender f"),
        ("live", "XADD dinrank:behaviours * event x"),
        ("live", "DEL somebody:else"),
        ("publisher", "HGETALL {u:42}:profile"),
        ("consumer", "HGETALL {u:42}:profile"),
        ("consumer", "XADD somebody:else * event x"),
        ("consumer", "XGROUP DESTROY dinrank:behaviours dinrank"),
        ("producer", "XREAD STREAMS dinrank:behaviours 0"),
        ("producer", "LRANGE {u:42}:behaviours 0 -1"),
        ("publisher", "SET somebody:else 1"),
        ("publisher", "DEL somebody:else"),
        ("publisher", "FLUSHALL"),
        ("load", "LRANGE {u:42}:behaviours 0 -1"),
    ],
)
def test_nobody_may_do_more(published: RedisServer, name: str, command: str) -> None:
    with client_of(published, name) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command.split())


def test_nobody_gets_in_without_a_name(published: RedisServer) -> None:
    with pytest.raises(FeatureStoreUnavailable, match="Redis cannot be used"):
        published_user_ids(f"redis://127.0.0.1:{published.port}")


def test_a_service_with_a_wrong_password_ranks_without_what_redis_holds(
    published: RedisServer, bundle_path: Path
) -> None:
    url = f"redis://dinrank-service:wrong@127.0.0.1:{published.port}"
    with running_service(bundle_path, url, redis_timeout_ms=5_000) as service:
        response = service.rank(ONE_AD)
    assert response.status_code == 200
    assert "behaviours" in response.json()["degraded"]
