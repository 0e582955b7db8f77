"""An activation table in the service: the same answers, and numbers that say what was looked up."""

import io
import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import redis
from rich.console import Console

from model.bundle.reader import open_bundle
from model.nets.config import NetworkConfig
from model.nets.registry import NetworkName
from tests.fixtures.service import RunningService, running_service
from training.config import TrainConfig
from training.run import RunOptions, run
from training.table.command import TableOptions, add_table

CONFIG = TrainConfig(
    epochs=1, batch_size=64, network=NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(8,), unit=(6,))
)
LOOKED_UP = 'dinrank_weighed_pairs_total{source="table"}'
COMPUTED = 'dinrank_weighed_pairs_total{source="computed"}'


@pytest.fixture(scope="module")
def services(
    dataset_path: Path, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningService, RunningService, list[str]]]:
    """Without a table and with one, and the ids that the catalogue holds."""
    directory, console = tmp_path_factory.mktemp("bundles"), Console(file=io.StringIO())
    plain, extended = directory / "plain", directory / "extended"
    run(RunOptions(data=dataset_path, model=NetworkName.DIN, out=plain, seed=0, config=CONFIG), console)
    add_table(plain, dataset_path, extended, TableOptions(memory_bytes=4 * 10 * 10), console)
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running_service(bundle, redis_url, redis_timeout_ms=5_000))
            for bundle in (plain, extended)
        )
        yield first, second, list(open_bundle(plain).encoder.catalogue.item_ids)


def push(url: str, user_id: str, item_ids: Sequence[str]) -> None:
    with redis.Redis.from_url(url) as client:
        elements = [json.dumps({"item_id": item_id, "timestamp": place}) for place, item_id in enumerate(item_ids)]
        client.lpush(f"{{u:{user_id}}}:behaviours", *elements)


@pytest.mark.parametrize("num_behaviours", [0, 1, 5])
def test_rankings_and_explanations_are_the_same_with_a_table(
    services: tuple[RunningService, RunningService, list[str]], redis_url: str, num_behaviours: int
) -> None:
    plain, extended, item_ids = services
    rng = np.random.default_rng(num_behaviours)
    behaviours = [*rng.choice(item_ids, num_behaviours).tolist()]
    if behaviours:
        push(redis_url, "someone", behaviours)
    candidates = [{"ad_id": ad_id, "bid": float(rng.uniform(0.1, 2.0))} for ad_id in [*item_ids, "new"]]
    candidates.append({"ad_id": item_ids[0], "bid": 1.0, "features": {"category": "shoes"}})
    body = {"user_id": "someone", "candidates": candidates, "explain": True}
    before = [extended.metric(name) for name in (LOOKED_UP, COMPUTED)]
    first, second = plain.rank(body).json(), extended.rank(body).json()
    assert second["behaviours"] == first["behaviours"] == num_behaviours
    assert [ad["ad_id"] for ad in second["ads"]] == [ad["ad_id"] for ad in first["ads"]]
    for found, expected in zip(second["ads"], first["ads"], strict=True):
        assert found["ctr"] == pytest.approx(expected["ctr"], abs=1e-6)
        weights, expected_weights = (ad["activation_weights"] for ad in (found, expected))
        assert [each["item_id"] for each in weights] == behaviours
        assert [each["weight"] for each in weights] == pytest.approx(
            [each["weight"] for each in expected_weights], abs=1e-5
        )
    looked_up, computed = (
        extended.metric(name) - count for name, count in zip((LOOKED_UP, COMPUTED), before, strict=True)
    )
    assert looked_up + computed == len(candidates) * num_behaviours
    assert (looked_up > 0) == (num_behaviours > 0)
    assert plain.metric(LOOKED_UP) == 0.0
