"""Every bad input has its documented answer: a status and an RFC 9457 problem that names the field."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dinrank.service.api.problems import PROBLEMS
from dinrank.service.api.rank_bodies import RankRequest
from dinrank.service.errors import BodyTooLarge
from dinrank.service.settings import Settings
from tests.fixtures.service import RunningService, running_service

AD = {"ad_id": "1", "bid": 1.0}
GOOD = {"user_id": "42", "candidates": [AD]}
TEXT_EXPECTED = "Input should be text: a JSON string, in quotes"
VALUE_EXPECTED = "must be text, a number, true, false, or a list of those"


def refuse_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


def problem(response: httpx.Response) -> dict[str, Any]:
    """The body of a problem, checked against the RFC."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document: dict[str, Any] = json.loads(response.content, parse_constant=refuse_constant)
    assert set(document) == {"type", "title", "status", "detail", "instance", "errors"}
    assert document["status"] == response.status_code
    assert document["instance"].endswith(f"#{response.headers['X-Request-ID']}")
    return document


def with_ad(**changed: Any) -> dict[str, Any]:
    return GOOD | {"candidates": [AD, AD | changed]}


def without(name: str, document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        # bids
        (with_ad(bid=-0.01), "candidates.1.bid", "Input should be greater than or equal to 0"),
        (with_ad(bid=float("nan")), "candidates.1.bid", "Input should be a finite number"),
        (with_ad(bid=float("inf")), "candidates.1.bid", "Input should be a finite number"),
        (with_ad(bid=float("-inf")), "candidates.1.bid", "Input should be a finite number"),
        (b'{"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1e999}]}', "candidates.0.bid", "finite number"),
        (with_ad(bid=10**400), "candidates.1.bid", "Input should be a valid number"),
        (with_ad(bid="1.0"), "candidates.1.bid", "Input should be a valid number"),
        (with_ad(bid=True), "candidates.1.bid", "Input should be a valid number"),
        (with_ad(bid=None), "candidates.1.bid", "Input should be a valid number"),
        (GOOD | {"candidates": [{"ad_id": "1"}]}, "candidates.0.bid", "Field required"),
        # ids
        (with_ad(ad_id=2858), "candidates.1.ad_id", TEXT_EXPECTED),
        (with_ad(ad_id=""), "candidates.1.ad_id", "at least 1 character"),
        (with_ad(ad_id="x" * 257), "candidates.1.ad_id", "at most 256 characters"),
        (GOOD | {"user_id": 42}, "user_id", TEXT_EXPECTED),
        (GOOD | {"user_id": None}, "user_id", TEXT_EXPECTED),
        (GOOD | {"user_id": ""}, "user_id", "at least 1 character"),
        (GOOD | {"user_id": "x" * 257}, "user_id", "at most 256 characters"),
        (without("user_id", GOOD), "user_id", "Field required"),
        # candidates
        (GOOD | {"candidates": []}, "candidates", "at least 1 item"),
        (GOOD | {"candidates": {}}, "candidates", "a JSON array"),
        (GOOD | {"candidates": ["1"]}, "candidates.0", "a JSON object"),
        (without("candidates", GOOD), "candidates", "Field required"),
        (with_ad(price=3), "candidates.1.price", "Extra inputs are not permitted"),
        # features and context
        (with_ad(features=[]), "candidates.1.features", "a JSON object"),
        (with_ad(features={"genre": {}}), "candidates.1.features.genre", VALUE_EXPECTED),
        (with_ad(features={"genre": None}), "candidates.1.features.genre", VALUE_EXPECTED),
        (with_ad(features={"genre": [["Comedy"]]}), "candidates.1.features.genre", VALUE_EXPECTED),
        (with_ad(features={"price": float("nan")}), "candidates.1.features.price", "numbers must be finite"),
        (GOOD | {"context": {"hour": float("inf")}}, "context.hour", "numbers must be finite"),
        (GOOD | {"context": {"hour": [1, None]}}, "context.hour", VALUE_EXPECTED),
        (GOOD | {"context": "hour"}, "context", "a JSON object"),
        # the rest
        (GOOD | {"top_k": 0}, "top_k", "greater than or equal to 1"),
        (GOOD | {"top_k": 1.5}, "top_k", "valid integer"),
        (GOOD | {"top_k": "3"}, "top_k", "valid integer"),
        (GOOD | {"explain": "yes"}, "explain", "valid boolean"),
        (GOOD | {"reserve_price": -0.1}, "reserve_price", "greater than or equal to 0"),
        (GOOD | {"reserve_price": float("nan")}, "reserve_price", "finite number"),
        (GOOD | {"second_prices": 1}, "second_prices", "valid boolean"),
        (GOOD | {"usr_id": "42"}, "usr_id", "Extra inputs are not permitted"),
        # more than anybody means
        (with_ad(features={str(n): 1 for n in range(257)}), "candidates.1.features", "at most 256 features, not 257"),
        (GOOD | {"context": {str(n): 1 for n in range(257)}}, "context", "at most 256 features, not 257"),
        (with_ad(features={"genre": ["x"] * 1_001}), "candidates.1.features.genre", "at most 1000 values, not 1001"),
        (GOOD | {str(n): 1 for n in range(31)}, "", f"takes {', '.join(RankRequest.model_fields)}; 33 fields"),
        (with_ad(**{str(n): 1 for n in range(31)}), "candidates.1", "takes ad_id, bid, features; 33 fields were sent"),
        # not a request at all
        ([GOOD], "", "a JSON object"),
        (None, "", "a JSON object"),
        (b"", "", "the body is empty"),
        (b"{", "", "the body is not JSON: EOF while parsing"),
        (b'{"user_id": "42",}', "", "the body is not JSON: trailing comma"),
        (b'{"user_id": "\\ud800"}', "", "the body is not JSON: "),
        (b'{"user_id": "\xff"}', "", "the body is not JSON: "),
        (b"[" * 100_000, "", "the body is not JSON: recursion limit exceeded"),
        (b'{"user_id": ' + b"1" * 5_000 + b"}", "", "the body is not JSON: number out of range"),
    ],
)
def test_a_malformed_body_gets_422_and_the_field(service: RunningService, body: Any, field: str, message: str) -> None:
    response = service.rank(body)
    document = problem(response)
    assert response.status_code == 422
    assert document["type"] == "urn:dinrank:problem:malformed-body"
    assert document["errors"][0]["field"] == field
    assert message in document["errors"][0]["message"]
    assert document["errors"][0]["message"] in document["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (with_ad(features={"colour": "red"}), "candidates.1.features.colour"),
        (with_ad(features={"item_id": "2"}), "candidates.1.features.item_id"),
        (with_ad(features={"gender": "f"}), "candidates.1.features.gender"),
        (with_ad(features={"price": [1, 2]}), "candidates.1.features.price"),
        (GOOD | {"context": {"hour": "9", "weather": "rain"}}, "context.weather"),
        (GOOD | {"context": {"hour": ["9"]}}, "context.hour"),
    ],
)
def test_a_feature_that_the_model_lacks_gets_400_and_its_place(service: RunningService, body: Any, field: str) -> None:
    response = service.rank(body)
    document = problem(response)
    assert response.status_code == 400
    assert document["type"] == "urn:dinrank:problem:unknown-feature"
    assert document["errors"] == [{"field": field, "message": document["detail"]}]


def test_an_integer_beyond_all_floats_is_an_ordinary_feature(service: RunningService) -> None:
    assert service.rank(with_ad(features={"price": 10**400, "genre": [10**400]})).status_code == 200


def test_too_many_candidates_get_413_and_the_limit(service: RunningService) -> None:
    assert service.rank(GOOD | {"candidates": [AD] * 50}).status_code == 200
    response = service.rank(GOOD | {"candidates": [AD] * 51})
    assert response.status_code == 413
    assert problem(response)["errors"] == [
        {"field": "candidates", "message": "51 candidates sent, at most 50 are scored per request"}
    ]


@pytest.fixture(scope="module")
def narrow(bundle_path: Path, redis_url: str) -> Iterator[RunningService]:
    """A service that takes bodies of 200 bytes."""
    with running_service(bundle_path, redis_url, max_body_bytes=200, redis_timeout_ms=5_000) as running:
        yield running


def padded(size: int) -> bytes:
    return json.dumps(GOOD).encode().ljust(size)


def test_a_body_may_be_as_large_as_the_limit_and_no_larger(narrow: RunningService) -> None:
    assert narrow.rank(padded(200)).status_code == 200
    response = narrow.rank(padded(201))
    assert response.status_code == PROBLEMS[BodyTooLarge].status
    assert problem(response)["detail"] == "the body is larger than 200 bytes"


def test_the_limit_holds_without_a_length_too(narrow: RunningService) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 99
            await asyncio.sleep(0)

    response = narrow.request("POST", "/rank", content=chunks(), headers={"Content-Type": "application/json"})
    assert "Content-Length" not in response.request.headers
    assert response.status_code == 413
    problem(response)


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/xml"])
def test_a_body_of_another_type_gets_told_which_one_to_send(service: RunningService, content_type: str) -> None:
    response = service.rank(GOOD, Content_Type=content_type)
    assert response.status_code == 422
    assert "Content-Type: application/json" in problem(response)["detail"]


def test_faults_are_listed_up_to_a_limit_and_then_counted(service: RunningService) -> None:
    response = service.rank(GOOD | {"candidates": [AD | {"bid": -1, "price": 1}] * 50})
    document = problem(response)
    assert [error["field"] for error in document["errors"]] == [
        f"candidates.{place}.{name}" for place in range(10) for name in ("bid", "price")
    ]
    assert document["detail"].endswith("(20 of at least 40 faults are listed)")


def test_a_fault_far_down_the_list_is_named_by_its_position(service: RunningService) -> None:
    response = service.rank(GOOD | {"candidates": [AD] * 47 + [AD | {"bid": -1}, AD, AD]})
    assert [error["field"] for error in problem(response)["errors"]] == ["candidates.47.bid"]


def test_a_fields_long_name_is_cut(service: RunningService) -> None:
    assert problem(service.rank(GOOD | {"x" * 100_000: 1}))["errors"][0]["field"] == "x" * 256


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/rank", 405), ("DELETE", "/model", 405), ("GET", "/nothing", 404)]
)
def test_wrong_paths_and_methods_are_problems_too(service: RunningService, method: str, path: str, status: int) -> None:
    response = service.request(method, path)
    assert response.status_code == status
    assert problem(response)["type"] == "about:blank"
    if status == 405:
        assert response.headers["Allow"]


def test_every_refusal_is_counted_by_its_kind(service: RunningService) -> None:
    kinds = ("malformed-body", "unknown-feature", "too-many-candidates", "method-not-allowed")
    before = [service.metric(f'dinrank_requests_total{{outcome="{kind}"}}') for kind in kinds]
    service.rank(b"")
    service.rank(GOOD | {"context": {"weather": "rain"}})
    service.rank(GOOD | {"candidates": [AD] * 51})
    service.request("GET", "/rank")
    after = [service.metric(f'dinrank_requests_total{{outcome="{kind}"}}') for kind in kinds]
    assert after == [count + 1 for count in before]


def test_the_default_limits_admit_the_largest_sensible_request() -> None:
    settings = Settings.read(bundle=Path("b"))
    largest = {"ad_id": "x" * 256, "bid": 123.456789, "features": {"genre": ["Comedy", "Drama"], "price": 12.5}}
    body = {"user_id": "x" * 256, "candidates": [largest] * settings.max_candidates}
    assert len(json.dumps(body)) <= settings.max_body_bytes
