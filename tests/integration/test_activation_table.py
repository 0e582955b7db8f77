"""An activation table in the service: the same answers, and numbers that say what was looked up."""

import io
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import redis
from rich.console import Console

from dinrank.model.bundle.activations import WEIGHTS_FILE
from dinrank.model.bundle.errors import GoldenMismatch, SchemaMismatch
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.service.scoring.predictor import Predictor
from dinrank.training.config import TrainConfig
from dinrank.training.run import RunOptions, run
from dinrank.training.table.command import TableOptions, add_table
from tests.fixtures.bundle import declare_as_genuine
from tests.fixtures.service import ADMIN, RunningService, running_service
from tests.integration.test_reload import switch

CONFIG = TrainConfig(
    epochs=1, batch_size=64, network=NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(8,), unit=(6,))
)
LOOKED_UP = 'dinrank_weighed_pairs_total{source="table"}'
COMPUTED = 'dinrank_weighed_pairs_total{source="computed"}'


@pytest.fixture(scope="module")
def bundles(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Without a table and with one; both have stages."""
    directory, console = tmp_path_factory.mktemp("bundles"), Console(file=io.StringIO())
    plain, extended = directory / "plain", directory / "extended"
    run(RunOptions(data=dataset_path, model=NetworkName.DIN, out=plain, seed=0, config=CONFIG), console)
    add_table(plain, dataset_path, extended, TableOptions(memory_bytes=4 * 10 * 10), console)
    return plain, extended


@pytest.fixture(scope="module")
def services(bundles: tuple[Path, Path], redis_url: str) -> Iterator[tuple[RunningService, RunningService, list[str]]]:
    """Without a table and with one, and the ids that the catalogue holds."""
    with ExitStack() as stack:
        first, second = (
            stack.enter_context(running_service(bundle, redis_url, redis_timeout_ms=5_000)) for bundle in bundles
        )
        yield first, second, list(open_bundle(bundles[0]).encoder.catalogue.item_ids)


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


def test_bundles_with_stages_tables_and_other_schemas_follow_each_other(
    bundles: tuple[Path, Path], bundle_path: Path, redis_url: str, tmp_path: Path
) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    plain, extended = bundles
    with running_service(link, redis_url, redis_timeout_ms=5_000, bundle_poll_ms=0) as service:
        for path in (plain, extended, bundle_path, extended, plain, bundle_path):
            switch(link, path)
            assert service.request("POST", "/admin/reload", headers=ADMIN).json()["outcome"] == "swapped"
            bundle = open_bundle(path)
            body = {
                "user_id": "nobody",
                "candidates": [{"ad_id": ad_id, "bid": 1.0} for ad_id in bundle.encoder.catalogue.item_ids],
            }
            response = service.rank(body)
            assert response.status_code == 200, response.text
            assert response.json()["model"]["version"] == bundle.manifest.model_version
            assert service.get("/model").json()["features"] == bundle.schema.to_json()["features"]


def test_a_stage_that_gives_no_number_is_refused(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    bad = Path(shutil.copytree(bundles[0], tmp_path / "bad"))
    stage = bad / "stage_scores.onnx"
    graph = onnx.load(stage, load_external_data=False)
    for initializer in graph.graph.initializer:
        if initializer.data_type == onnx.TensorProto.FLOAT and initializer.data_location == onnx.TensorProto.DEFAULT:
            value = onnx.numpy_helper.to_array(initializer)
            initializer.CopyFrom(onnx.numpy_helper.from_array(np.full_like(value, np.nan), initializer.name))
    stage.write_bytes(graph.SerializeToString())
    declare_as_genuine(bad, stage.name)
    with pytest.raises(GoldenMismatch, match=r"stage_scores.onnx: expected an answer to golden request 0, found .*nan"):
        Predictor.load(open_bundle(bad))


def with_weights(bundle: Path, out: Path, places: Any, weight: float) -> Path:
    """The bundle with other weights in its table."""
    bad = Path(shutil.copytree(bundle, out))
    weights_AB = np.load(bad / WEIGHTS_FILE)
    weights_AB[places] = weight
    np.save(bad / WEIGHTS_FILE, weights_AB)
    declare_as_genuine(bad, WEIGHTS_FILE)
    return bad


def test_a_table_of_wrong_weights_is_refused(bundles: tuple[Path, Path], tmp_path: Path) -> None:
    bad = with_weights(bundles[1], tmp_path / "bad", ..., 1e6)
    with pytest.raises(GoldenMismatch, match=r"stage_scores.onnx: expected "):
        Predictor.load(open_bundle(bad))


@pytest.mark.parametrize("weight", [np.nan, np.inf, -np.inf])
def test_one_weight_that_is_not_finite_refuses_a_table(
    bundles: tuple[Path, Path], tmp_path: Path, weight: float
) -> None:
    """No golden request need ask for it."""
    bad = with_weights(bundles[1], tmp_path / "bad", (-1, -1), weight)
    with pytest.raises(SchemaMismatch, match=rf"weights.npy: .*weights must be finite, and one of them is {weight}"):
        open_bundle(bad)
