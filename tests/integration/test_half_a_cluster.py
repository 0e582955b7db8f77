"""Half of a cluster is gone: its users get degraded answers, and those of the other half notice nothing."""

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.crc import key_slot

from dinrank.service.store.layout import ad_key, behaviours_key
from tests.fixtures.redis_server import LOWER_SLOTS, UPPER_SLOTS, RedisServer, cluster_url, run_cluster, wait_until
from tests.fixtures.service import RunningService, running_service

TIMEOUT_MS = 300
# What makes a cluster's half go on without the other, and how soon it notices that it has to.
ALONE = (
    *("--cluster-require-full-coverage", "no"),
    *("--cluster-allow-reads-when-down", "yes"),
    *("--cluster-node-timeout", "500"),
)


def user_of(slots: range) -> str:
    return next(user_id for user_id in map(str, range(99)) if key_slot(behaviours_key(user_id)) in slots)


LIVING, GONE = user_of(LOWER_SLOTS), user_of(UPPER_SLOTS)


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    with run_cluster(tmp_path, *ALONE) as nodes:
        for node, user_id in zip(nodes, (LIVING, GONE), strict=True):
            node.client.lpush(behaviours_key(user_id), '{"item_id": "3"}')
        yield nodes


@pytest.fixture
def service(bundle_path: Path, nodes: list[RedisServer]) -> Iterator[RunningService]:
    with running_service(
        bundle_path, cluster_url(nodes[0]), redis_timeout_ms=TIMEOUT_MS, breaker_failures=2, breaker_open_ms=300
    ) as running:
        for user_id in (LIVING, GONE):
            wait_until(lambda user_id=user_id: is_full(running, user_id), f"user {user_id} is found")  # type: ignore[misc]
        yield running


def is_full(service: RunningService, user_id: str) -> bool:
    return answered_in_full(service.rank(body(user_id)))


def body(user_id: str) -> dict[str, Any]:
    return {"user_id": user_id, "candidates": [{"ad_id": "1", "bid": 1.0}]}


def answered_in_full(response: httpx.Response) -> bool:
    assert response.status_code == 200
    document = response.json()
    assert document["behaviours"] == (0 if document["degraded"] else 1)
    return not document["degraded"]


def ask_side_by_side(service: RunningService, times: int) -> tuple[list[bool], list[bool]]:
    """Which answers of each half were full. Both halves are asked at once, again and again."""

    async def ask(user_id: str) -> list[bool]:
        return [answered_in_full(await service.client.post("/rank", json=body(user_id))) for _ in range(times)]

    async def ask_both() -> tuple[list[bool], list[bool]]:
        return await asyncio.gather(ask(LIVING), ask(GONE))

    return service.runner.run(ask_both())


def test_while_half_is_silent_the_other_half_answers_in_full_and_then_both(
    service: RunningService, nodes: list[RedisServer]
) -> None:
    nodes[1].process.send_signal(signal.SIGSTOP)
    try:
        living, gone = ask_side_by_side(service, 30)
    finally:
        nodes[1].process.send_signal(signal.SIGCONT)
    assert gone == [False] * 30
    assert living == [True] * 30
    assert service.metric('dinrank_store_failures_total{kind="breaker"}') >= 20  # not every request waited
    wait_until(lambda: is_full(service, GONE), "the other half is used again")
    assert service.metric("dinrank_breaker_open") == 0


def test_while_half_is_dead_the_other_half_answers_in_full(service: RunningService, nodes: list[RedisServer]) -> None:
    nodes[1].process.kill()
    nodes[1].process.wait()
    living, gone = ask_side_by_side(service, 30)
    # When the survivor notices that it is alone it still reads.
    wait_until(lambda: nodes[0].client.execute_command("CLUSTER INFO")["cluster_state"] == "fail", "it is alone")
    living_later, gone_later = ask_side_by_side(service, 30)
    assert gone + gone_later == [False] * 60
    assert living + living_later == [True] * 60


def test_a_new_ad_on_the_dead_half_costs_its_attributes_alone(
    service: RunningService, nodes: list[RedisServer]
) -> None:
    new_ad = next(ad for ad in map(str, range(100, 199)) if key_slot(ad_key(ad)) in UPPER_SLOTS)
    asked = {"user_id": LIVING, "candidates": [{"ad_id": "1", "bid": 1.0}, {"ad_id": new_ad, "bid": 1.0}]}
    assert service.rank(asked).json()["degraded"] == []
    nodes[1].process.kill()
    nodes[1].process.wait()
    for _ in range(10):
        answer = service.rank(asked).json()
        assert answer["degraded"] == ["ads"]
        assert answer["behaviours"] == 1
    assert is_full(service, LIVING)


def test_a_dead_nodes_users_are_found_again_when_another_node_has_taken_over(
    service: RunningService, nodes: list[RedisServer]
) -> None:
    heir = nodes[0].client
    nodes[1].process.kill()
    nodes[1].process.wait()
    assert not is_full(service, GONE)
    heir.execute_command("CLUSTER DELSLOTS", *UPPER_SLOTS)
    heir.execute_command("CLUSTER ADDSLOTS", *UPPER_SLOTS)
    wait_until(lambda: heir.execute_command("CLUSTER INFO")["cluster_state"] == "ok", "the heir serves all slots")
    heir.lpush(behaviours_key(GONE), '{"item_id": "3"}')
    wait_until(lambda: is_full(service, GONE), "the map is learnt anew")
