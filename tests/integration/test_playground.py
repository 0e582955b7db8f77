"""What the playground's page asks for, without a browser; `tests/e2e` clicks through the page itself."""

from pathlib import Path

import pytest

from dinrank.service.store.layout import behaviours_key
from tests.fixtures.bundle import ITEMS, TITLES
from tests.fixtures.redis_server import RedisServer
from tests.fixtures.service import RunningService, running_service


def test_the_page_may_load_its_own_parts_and_nothing_else(service: RunningService) -> None:
    page = service.get("/")
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert "<script>" not in page.text and "style=" not in page.text and "http" not in page.text
    for part in ("app.js", "api.js", "style.css"):
        found = service.get(f"/playground/parts/{part}")
        assert found.status_code == 200
        assert found.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("path", ["../app.py", "..%2fapp.py", "%2e%2e/settings.py", "nothing.js", ""])
def test_nothing_but_the_pages_parts_is_given_away(service: RunningService, path: str) -> None:
    assert service.get(f"/playground/parts/{path}").status_code == 404


def test_items_are_found_by_id_and_by_title(service: RunningService) -> None:
    def found(search: str) -> list[tuple[str, str]]:
        items = service.request("GET", "/playground/items", params={"search": search}).json()["items"]
        return [(item["item_id"], item["title"]) for item in items]

    assert found("swim") == [("2", "Swimming cap"), ("1", "Swimming goggles")]
    assert found("2") == [("2", "Swimming cap")]
    assert found("<b>") == [("rare", "Snorkel <b>&</b> mask")]
    assert found("nowhere") == []


def test_random_items_are_different_ones_of_the_catalogue(service: RunningService) -> None:
    items = service.get("/playground/items/random?count=4").json()["items"]
    assert len({item["item_id"] for item in items}) == 4
    assert all(item["title"] == TITLES[item["item_id"]] for item in items)
    everything = service.get("/playground/items/random?count=100").json()["items"]
    assert {item["item_id"] for item in everything} == set(ITEMS)


def test_titles_come_in_the_order_asked_for_and_are_empty_where_there_are_none(service: RunningService) -> None:
    response = service.request("POST", "/playground/titles", json={"item_ids": ["3", "new", "1", "5", "3"]})
    titles = [item["title"] for item in response.json()["items"]]
    assert titles == ["Climbing shoes", "", "Swimming goggles", "", "Climbing shoes"]


def test_some_users_are_named_once_and_in_order(service: RunningService, redis_server: RedisServer) -> None:
    for user_id in ("10", "9", "ann", "}{"):
        redis_server.client.rpush(behaviours_key(user_id), "{}")
    redis_server.client.set("something else", 1)
    assert service.get("/playground/users").json()["user_ids"] == ["9", "10", "ann", "}{"]
    assert len(service.get("/playground/users?count=2").json()["user_ids"]) == 2


def test_without_redis_the_list_of_users_is_a_problem(bundle_path: Path) -> None:
    with running_service(bundle_path, "redis://127.0.0.1:1") as lonely:
        response = lonely.get("/playground/users")
        assert (response.status_code, response.json()["type"]) == (503, "urn:dinrank:problem:feature-store-unavailable")
        assert lonely.get("/").status_code == 200


def test_a_setting_turns_it_off(bundle_path: Path, redis_url: str) -> None:
    with running_service(bundle_path, redis_url, playground=False) as service:
        for path in ("/", "/playground/parts/app.js", "/playground/items?search=a", "/playground/users"):
            assert service.get(path).status_code == 404
