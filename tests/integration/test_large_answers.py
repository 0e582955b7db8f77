"""What a request may make of the service's time and memory by a product: of ads and behaviours, of names and titles."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.fixtures.bundle import MAX_BEHAVIOURS
from tests.fixtures.redis_server import RedisServer
from tests.fixtures.service import RunningService, running_service

PAIRS_LIMIT = 4 * MAX_BEHAVIOURS
EXPLAINED = {"user_id": "42", "explain": True}


@pytest.fixture(scope="module")
def limited(bundle_path: Path, redis_url: str) -> Iterator[RunningService]:
    with running_service(bundle_path, redis_url, redis_timeout_ms=5_000, max_explained_pairs=PAIRS_LIMIT) as running:
        yield running


@pytest.fixture
def client(redis_server: RedisServer) -> redis.Redis:
    """With a user who has as many behaviours as the model takes."""
    for place in range(MAX_BEHAVIOURS):
        redis_server.client.lpush("{u:42}:behaviours", json.dumps({"item_id": "1", "timestamp": place}))
    return redis_server.client


def ads(count: int) -> list[dict[str, object]]:
    return [{"ad_id": "1", "bid": 1.0}] * count


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.api+json"], ids=["one pass", "route"])
def test_an_explanation_of_too_many_weights_is_413_with_the_numbers(limited: RunningService, content_type: str) -> None:
    counted = 'dinrank_requests_total{outcome="explanation-too-large"}'
    before = limited.metric(counted)
    answer = limited.rank(EXPLAINED | {"candidates": ads(1_000)}, Content_Type=content_type)
    assert answer.status_code == 413
    problem = answer.json()
    assert problem["type"] == "urn:dinrank:problem:explanation-too-large"
    assert problem["detail"] == (
        "1000 ads x 5 behaviours are 5000 weights, at most 20 are explained per request; ask for a `top_k` of at most 4"
    )
    assert problem["errors"] == [{"field": "explain", "message": problem["detail"]}]
    assert limited.metric(counted) == before + 1


@pytest.mark.usefixtures("client")
def test_what_the_problem_advises_is_answered(limited: RunningService) -> None:
    answer = limited.rank(EXPLAINED | {"candidates": ads(1_000), "top_k": 4})
    assert answer.status_code == 200
    assert [len(ad["activation_weights"]) for ad in answer.json()["ads"]] == [MAX_BEHAVIOURS] * 4
    assert limited.rank({"user_id": "42", "candidates": ads(1_000)}).status_code == 200


def test_a_user_whom_nobody_knows_is_explained_for_any_number_of_ads(limited: RunningService) -> None:
    answer = limited.rank(EXPLAINED | {"user_id": "nobody", "candidates": ads(1_000)})
    assert [ad["activation_weights"] for ad in answer.json()["ads"]] == [[]] * 1_000


def test_item_ids_that_somebody_made_long_do_not_make_an_answer_large(
    limited: RunningService, client: redis.Redis
) -> None:
    client.lpush("{u:42}:behaviours", json.dumps({"item_id": "x" * 100_000, "timestamp": 9}))
    answer = limited.rank(EXPLAINED | {"candidates": ads(1)})
    assert answer.status_code == 413
    assert len(answer.content) < 1_000


def test_ten_thousand_titles_are_as_the_bundle_has_them(limited: RunningService) -> None:
    answer = limited.request("POST", "/playground/titles", json={"item_ids": ["2", "nobody's"] * 5_000})
    items = answer.json()["items"]
    assert len(items) == 10_000
    assert items[:2] == [{"item_id": "2", "title": "Swimming cap"}, {"item_id": "nobody's", "title": ""}]
