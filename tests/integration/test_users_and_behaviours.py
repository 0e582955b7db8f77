"""POST /behaviours and /users/{id} through the whole application: real Redis, a model whose CTR is a formula."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from dinrank.service.api.events import MAX_EVENTS, MAX_FEATURES_BYTES
from dinrank.service.store import live
from tests.fixtures.bundle import MAX_BEHAVIOURS, expected_ctr
from tests.fixtures.redis_server import RedisServer, frozen_redis
from tests.fixtures.service import ADMIN, RunningService, running_service
from tests.integration.test_rank import body, candidate, store_user

EVENT: dict[str, Any] = {"event_id": "e1", "user_id": "42", "item_id": "3", "timestamp": 978300760}


def sent(service: RunningService, *events: dict[str, Any]) -> httpx.Response:
    return service.request("POST", "/behaviours", json={"events": events})


def counts(accepted: int = 0, duplicates: int = 0, too_old: int = 0, other_unit: int = 0) -> dict[str, int]:
    return {"accepted": accepted, "duplicates": duplicates, "too_old": too_old, "other_unit": other_unit}


def ctr(service: RunningService, ad_id: str = "1", user_id: str = "42") -> tuple[float, int]:
    """The CTR of one ad for the user, and how many behaviours it rests on."""
    answer = service.rank(body(candidate(ad_id), user_id=user_id)).json()
    assert answer["degraded"] == []
    return answer["ads"][0]["ctr"], answer["behaviours"]


def user(service: RunningService, user_id: str, query: str = "") -> httpx.Response:
    return service.get(f"/users/{quote(user_id, safe='')}{query}")


def test_the_next_ranking_sees_a_behaviour(service: RunningService, redis_server: RedisServer) -> None:
    store_user(redis_server, "42", ["2"])
    assert ctr(service) == (pytest.approx(expected_ctr("1", ["2"]), abs=1e-6), 1)
    response = sent(service, EVENT)
    assert (response.status_code, response.json()) == (200, counts(accepted=1))
    assert ctr(service) == (pytest.approx(expected_ctr("1", ["2", "3"]), abs=1e-6), 2)
    assert sent(service, EVENT).json() == counts(duplicates=1)
    assert ctr(service)[1] == 2


def test_events_of_several_users_come_in_any_order(service: RunningService) -> None:
    users = ("7", "8")
    events = [
        EVENT | {"event_id": f"e{n}", "user_id": users[n % 2], "item_id": str(n), "timestamp": n} for n in range(1, 6)
    ]
    assert sent(service, *reversed(events)).json() == counts(accepted=5)
    assert ctr(service, user_id="7")[0] == pytest.approx(expected_ctr("1", ["2", "4"]), abs=1e-6)
    assert ctr(service, user_id="8")[0] == pytest.approx(expected_ctr("1", ["1", "3", "5"]), abs=1e-6)


def test_a_history_keeps_the_newest_and_at_least_as_many_as_the_model_takes(bundle_path: Path, redis_url: str) -> None:
    with running_service(bundle_path, redis_url, redis_timeout_ms=5_000, max_stored_behaviours=1) as service:
        events = [EVENT | {"event_id": f"e{n}", "timestamp": n} for n in range(MAX_BEHAVIOURS + 2)]
        assert sent(service, *events).json() == counts(accepted=MAX_BEHAVIOURS, too_old=2)
        assert ctr(service)[1] == MAX_BEHAVIOURS


def test_features_are_stored_of_new_items_and_only_checked_of_known_ones(
    service: RunningService, redis_server: RedisServer
) -> None:
    features = {"genre": ["Horror"], "price": 25.0}
    events = [EVENT | {"features": features}, EVENT | {"event_id": "e2", "item_id": "newest", "features": features}]
    assert sent(service, *events).json() == counts(accepted=2)
    newest, known = [json.loads(element) for element in redis_server.client.lrange("{u:42}:behaviours", 0, -1)]
    assert known == {"item_id": "3", "timestamp": 978300760}
    assert newest == {"item_id": "newest", "timestamp": 978300760, "genre": ["Horror"], "price": "25"}
    expected = expected_ctr("1", ["3", "newest"], behaviour_attributes={1: features})
    assert ctr(service)[0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("events", "status", "field", "message"),
    [
        ([], 422, "events", "at least 1 item"),
        ([EVENT] * (MAX_EVENTS + 1), 422, "events", f"at most {MAX_EVENTS} events, not {MAX_EVENTS + 1}"),
        ([EVENT, {"event_id": "e2", "item_id": "3", "timestamp": 1}], 422, "events.1.user_id", "required"),
        ([EVENT | {"event_id": ""}], 422, "events.0.event_id", "at least 1 character"),
        ([EVENT | {"item_id": "x" * 257}], 422, "events.0.item_id", "at most 256 characters"),
        ([EVENT | {"timestamp": "noon"}], 422, "events.0.timestamp", "must be a number"),
        ([EVENT | {"timestamp": True}], 422, "events.0.timestamp", "must be a number"),
        ([EVENT | {"timestamp": 1e19}], 422, "events.0.timestamp", "from -9e+18 to 9e+18"),
        ([EVENT | {"itemid": "3"}], 422, "events.0.itemid", "not permitted"),
        ([EVENT | {"features": {"genre": "x" * MAX_FEATURES_BYTES}}], 422, "events.0.features", "bytes as JSON"),
        ([EVENT, EVENT | {"features": {"colour": "red"}}], 400, "events.1.features.colour", "no item feature"),
        ([EVENT | {"features": {"price": [1]}}], 400, "events.0.features.price", "takes one value"),
        ([EVENT | {"features": {"item_id": "4"}}], 400, "events.0.features.item_id", "no item feature"),
    ],
)
def test_a_bad_event_is_named_and_none_is_stored(
    service: RunningService, redis_server: RedisServer, events: list[Any], status: int, field: str, message: str
) -> None:
    response = sent(service, *events)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    [error] = response.json()["errors"]
    assert error["field"] == field
    assert message in error["message"]
    assert redis_server.client.dbsize() == 0


@pytest.mark.parametrize("timestamp", ["NaN", "Infinity", "1e999", "null", "1" * 400])
def test_a_timestamp_is_a_finite_number(service: RunningService, timestamp: str) -> None:
    content = json.dumps({"events": [EVENT]}).replace("978300760", timestamp)
    response = service.request("POST", "/behaviours", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "events.0.timestamp"


@pytest.fixture
def impatient_service(bundle_path: Path, redis_url: str) -> Iterator[RunningService]:
    with running_service(
        bundle_path, redis_url, redis_timeout_ms=100, breaker_failures=1, breaker_open_ms=60_000
    ) as running:
        yield running


def test_without_redis_nothing_is_taken_and_the_problem_says_to_send_again(impatient_service: RunningService) -> None:
    service = impatient_service
    with frozen_redis():
        assert service.rank(body(candidate("1"))).json()["degraded"]  # opens the breaker, so that nobody waits below
        response = sent(service, EVENT, EVENT)
        shown, removed = user(service, "42"), service.request("DELETE", "/users/42", headers=ADMIN)
    assert [each.status_code for each in (response, shown, removed)] == [503, 503, 503]
    assert response.json()["type"] == "urn:dinrank:problem:feature-store-unavailable"
    assert "send all of these events again" in response.json()["detail"]
    assert "Retry-After" in response.headers
    assert service.metric('dinrank_behaviour_events_total{outcome="unavailable"}') == 2


def test_a_silent_redis_is_waited_for_and_then_given_up(
    bundle_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_SHORTEST_TIMEOUT_MS", 100)
    with running_service(bundle_path, redis_url, redis_timeout_ms=1) as service:
        with frozen_redis():
            response = sent(service, EVENT)
        assert response.status_code == 503
        assert "did not answer within 100 ms; send all of these events again" in response.json()["detail"]
        assert sent(service, EVENT).json() in (counts(accepted=1), counts(duplicates=1))
        assert user(service, "42").json()["num_behaviours"] == 1


def test_events_are_counted_by_what_became_of_them(service: RunningService) -> None:
    names = [
        f'dinrank_behaviour_events_total{{outcome="{outcome}"}}' for outcome in ("accepted", "duplicate", "too_old")
    ]
    before = [service.metric(name) for name in names]
    full = [EVENT | {"event_id": f"e{n}", "timestamp": n} for n in range(3)]
    sent(service, *full, full[0])
    assert [service.metric(name) - value for name, value in zip(names, before, strict=True)] == [3, 1, 0]


def test_milliseconds_among_seconds_are_refused_and_counted(service: RunningService, redis_server: RedisServer) -> None:
    store_user(redis_server, "42", [{"item_id": "2", "timestamp": 1_700_000_000}])
    name = 'dinrank_behaviour_events_total{outcome="other_unit"}'
    before = service.metric(name)
    assert sent(service, EVENT | {"timestamp": 1_800_000_000_000}).json() == counts(other_unit=1)
    assert service.metric(name) == before + 1
    assert ctr(service)[1] == 1


def test_a_user_is_shown_with_everything_that_is_stored(service: RunningService, redis_server: RedisServer) -> None:
    elements = [{"item_id": "3", "timestamp": 7}, {"item_id": "new", "timestamp": 8.5, "genre": ["Horror"], "other": 1}]
    store_user(redis_server, "42", elements, gender="f", interests='["sport", "music"]', shoe_size="40")
    sent(service, EVENT)
    shown = user(service, "42").json()
    assert shown == {
        "user_id": "42",
        "profile": {"gender": "f", "interests": ["sport", "music"], "shoe_size": "40"},
        "behaviours": [*elements, {"item_id": "3", "timestamp": 978300760}],
        "num_behaviours": 3,
        "num_event_ids": 1,
        "num_malformed": 0,
    }
    newest = user(service, "42", "?limit=1").json()
    assert newest == shown | {"behaviours": shown["behaviours"][-1:]}


def test_what_cannot_be_read_of_a_user_is_counted(service: RunningService, redis_server: RedisServer) -> None:
    redis_server.client.rpush("{u:42}:behaviours", "no json", "[]", '{"item_id":"3"}')
    redis_server.client.hset("{u:42}:profile", mapping={"interests": "no list", "gender": "f"})
    shown = user(service, "42").json()
    assert (shown["behaviours"], shown["profile"], shown["num_malformed"]) == ([{"item_id": "3"}], {"gender": "f"}, 3)


def test_a_user_whom_nobody_knows_is_not_found(service: RunningService) -> None:
    response = user(service, "nobody")
    assert response.status_code == 404
    assert response.json()["type"] == "urn:dinrank:problem:unknown-user"


@pytest.mark.parametrize("query", ["?limit=0", "?limit=many"])
def test_a_malformed_limit_is_named(service: RunningService, query: str) -> None:
    response = user(service, "42", query)
    assert response.status_code == 422
    assert response.json()["type"] == "urn:dinrank:problem:malformed-parameter"
    assert response.json()["errors"][0]["field"] == "limit"


def test_a_removed_user_is_an_unknown_one(service: RunningService, redis_server: RedisServer) -> None:
    store_user(redis_server, "42", ["2"], gender="f")
    sent(service, EVENT)
    response = service.request("DELETE", "/users/42", headers=ADMIN)
    assert response.status_code == 200
    assert response.json() == {"user_id": "42", "num_behaviours": 2, "num_profile_fields": 1, "num_event_ids": 1}
    assert redis_server.client.dbsize() == 0
    assert ctr(service) == (pytest.approx(expected_ctr("1"), abs=1e-6), 0)
    assert user(service, "42").status_code == 404
    nothing = {"user_id": "42", "num_behaviours": 0, "num_profile_fields": 0, "num_event_ids": 0}
    assert service.request("DELETE", "/users/42", headers=ADMIN).json() == nothing


@pytest.mark.parametrize("user_id", ["a/b", "/", "a/", "}", "{u:1}", "Zoë 🎬", "a b?c#d", "%2F", "x" * 256])
def test_ids_in_a_path_may_hold_any_character_but_control_characters(service: RunningService, user_id: str) -> None:
    sent(service, EVENT | {"user_id": user_id})
    assert user(service, user_id).json()["user_id"] == user_id
    removed = service.request("DELETE", f"/users/{quote(user_id, safe='')}", headers=ADMIN).json()
    assert (removed["user_id"], removed["num_behaviours"]) == (user_id, 1)


@pytest.mark.parametrize("user_id", ["\n", "a\x00b", "\x85", "\u2028", "42", "a/b"])
def test_ids_in_a_parameter_may_hold_any_character(service: RunningService, user_id: str) -> None:
    """Who is stored can be shown and removed, whatever no path may hold."""
    sent(service, EVENT | {"user_id": user_id})
    of_user = {"params": {"user_id": user_id}, "headers": ADMIN}
    assert service.request("GET", "/users", **of_user).json()["user_id"] == user_id
    removed = service.request("DELETE", "/users", **of_user).json()
    assert (removed["user_id"], removed["num_behaviours"]) == (user_id, 1)
    assert service.request("GET", "/users", **of_user).status_code == 404


@pytest.mark.parametrize("query", ["", "?user_id=", f"?user_id={'x' * 257}", "?user_id=1&user_id=2"])
def test_a_parameter_has_one_id(service: RunningService, query: str) -> None:
    for method in ("GET", "DELETE"):
        answer = service.request(method, f"/users{query}", headers=ADMIN)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "user_id")


@pytest.mark.parametrize("path", ["/users/", f"/users/{'x' * 257}"])
def test_an_id_in_a_path_has_the_length_of_an_id(service: RunningService, path: str) -> None:
    response = service.get(path)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == "user_id"
