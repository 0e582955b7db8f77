"""A body that one pass cannot read is refused as FastAPI's ordinary handling refuses it, word for word."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinrank.service.api import rank
from dinrank.service.api.rank_bodies import RankRequest, RankResponse
from dinrank.service.errors import DeadlineTooShort
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.scoring.ranking import RankingTask
from tests.fixtures.bundle import ITEMS, MAX_BEHAVIOURS
from tests.fixtures.rank_bodies import bodies
from tests.fixtures.redis_server import RedisServer
from tests.fixtures.service import RunningService, running_service

GOOD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}
OTHER_TYPES = ["", "text/plain", "application/vnd.api+json", "application/json; charset=utf-8", "APPLICATION/JSON"]
property_settings = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def read_nothing(body: bytes, request_id: str) -> RankingTask | None:
    return None


def answers(
    service: RunningService, body: bytes, content_type: str = "application/json", **more: str
) -> tuple[httpx.Response, httpx.Response]:
    """To the same request, as the service is and with every body read in two passes."""
    headers = {"X-Request-ID": "r1", "Content-Type": content_type, **more}
    first = service.request("POST", "/rank", content=body, headers=headers)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rank, "read_task", read_nothing)
        second = service.request("POST", "/rank", content=body, headers=headers)
    return first, second


@property_settings
@given(bodies, st.sampled_from(["application/json"] * 9 + OTHER_TYPES))
def test_every_body_gets_the_answer_of_two_passes(service: RunningService, body: bytes, content_type: str) -> None:
    first, second = answers(service, body, content_type)
    assert first.status_code == second.status_code
    assert first.json() == second.json()
    assert first.headers == second.headers


@pytest.mark.parametrize(("deadline", "status"), [("60000", 200), ("soon", 422)])
def test_a_deadline_gets_the_answer_of_two_passes(service: RunningService, deadline: str, status: int) -> None:
    first, second = answers(service, json.dumps(GOOD).encode(), **{"X-Deadline-Ms": deadline})
    assert first.status_code == second.status_code == status
    assert first.json() == second.json()
    assert first.headers == second.headers


def test_a_refusal_of_the_ranker_is_the_same_in_two_passes(
    service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def too_late(*_: Any) -> None:
        raise DeadlineTooShort(wait_s=2.5)

    monkeypatch.setattr(Ranker, "rank", too_late)
    first, second = answers(service, json.dumps(GOOD).encode())
    assert first.status_code == second.status_code == 503
    assert first.json() == second.json()
    assert first.headers == second.headers
    assert first.headers["Retry-After"] == "3"


def test_a_flawless_body_is_read_once(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a second pass")

    monkeypatch.setattr(RankRequest, "to_task", refuse)
    assert service.rank(GOOD).status_code == 200


@pytest.mark.parametrize("more", [True, False])
def test_an_answer_is_of_the_documented_form(service: RunningService, redis_server: RedisServer, more: bool) -> None:
    redis_server.client.rpush("{u:42}:behaviours", *['{"item_id": "3"}'] * MAX_BEHAVIOURS)
    candidates = [{"ad_id": ad_id, "bid": 1} for ad_id in ITEMS]
    response = service.rank(
        GOOD | {"candidates": candidates, "explain": more, "second_prices": more, "reserve_price": more / 2}
    )
    answer = RankResponse.model_validate_json(response.content, strict=True, extra="forbid")
    assert response.json() == answer.model_dump(exclude_none=True)
    assert [ad.rank for ad in answer.ads] == list(range(1, len(ITEMS) + 1))
    assert {len(ad.activation_weights or []) for ad in answer.ads} == {MAX_BEHAVIOURS if more else 0}
    assert {ad.price is not None for ad in answer.ads} == {more}


def test_a_degraded_answer_is_of_the_documented_form(bundle_path: Path) -> None:
    with running_service(bundle_path, "redis://127.0.0.1:1") as lonely:
        answer = RankResponse.model_validate_json(lonely.rank(GOOD).content, strict=True, extra="forbid")
    assert answer.degraded == ["behaviours", "profile"]
