"""Offline equals online: test impressions of real data sets, sent through POST /rank, get the trainer's own CTRs."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from dinrank.model.bundle.golden import TOLERANCE
from dinrank.model.bundle.request import ScoringRequest
from dinrank.model.layers.calibration import CalibrationMethod
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.registry import Network, NetworkName, build_network
from dinrank.service.store.connection import connect
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from dinrank.training.config import TrainConfig
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.data.encoded import EncodedDataset, encode_dataset
from dinrank.training.data.split import TEST, TRAIN, VALID
from dinrank.training.export.bundle import export_bundle
from dinrank.training.fit.loop import train
from dinrank.training.measure.calibration import fit_calibration
from dinrank.training.measure.metrics import gauc
from dinrank.training.measure.predict import predict, predict_logits
from dinrank.training.requests import RequestBuilder
from dinrank.training.run import golden_requests
from tests.fixtures.service import RunningService, running_service

NUM_IMPRESSIONS = 1_000
TRAINED_ON = 20_000  # impressions: enough that the network is no longer the one it was at the start


# In every run a linear network, one with crosses and layers, and both with attention; the others in `make long`.
USUAL = {NetworkName.LR, NetworkName.DEEPFM, NetworkName.DIN, NetworkName.DIEN}
# Every network on the small set; on the large one, whose features and sizes differ, one without and one with attention.
CASES = [
    *(
        pytest.param(
            "movielens_100k", name, marks=[] if name in USUAL else pytest.mark.long, id=f"movielens_100k-{name}"
        )
        for name in NetworkName
    ),
    *(("movielens_1m", name) for name in (NetworkName.BASE, NetworkName.DIN)),
]


@pytest.fixture(scope="module")
def encoded() -> Callable[[Path], tuple[Dataset, EncodedDataset]]:
    """Reads and encodes each data set once."""

    @functools.cache
    def read(path: Path) -> tuple[Dataset, EncodedDataset]:
        dataset = read_dataset(path)
        return dataset, encode_dataset(dataset, min_count=2)

    return read


@pytest.mark.parametrize(("dataset_fixture", "name"), CASES)
def test_online_ctr_equals_the_trainers_on_every_test_impression(
    dataset_fixture: str,
    name: NetworkName,
    encoded: Callable[[Path], tuple[Dataset, EncodedDataset]],
    request: pytest.FixtureRequest,
    redis_url: str,
    quick_exporter: None,
    tmp_path: Path,
) -> None:
    dataset, data = encoded(request.getfixturevalue(dataset_fixture))
    network = _calibrated(_briefly_trained(name, data), data)
    impressions = _whole_users(data)
    offline = predict(network, data, impressions)
    bundle = _export(tmp_path / "bundle", network, name, dataset, data)
    builder = RequestBuilder(dataset, data)
    with running_service(bundle, redis_url, redis_timeout_ms=5_000) as service:
        online = _replay(service, redis_url, data, [builder.request(int(row)) for row in impressions])

    np.testing.assert_allclose(online, offline, rtol=0.0, atol=TOLERANCE)
    clicked, user = data.clicked_N[impressions] > 0, data.user_N[impressions]
    assert len(np.unique(np.round(offline, 3))) > 100, "a network that tells nothing apart would prove nothing"
    assert gauc(user, clicked, np.array(online)) == pytest.approx(gauc(user, clicked, offline), abs=5e-5)


def _briefly_trained(name: NetworkName, data: EncodedDataset) -> Network:
    torch.manual_seed(0)
    config = TrainConfig(epochs=1, evaluations_per_epoch=1, learning_rate=2e-3, embedding_learning_rate=1e-2)
    network = build_network(name, data.encoder.schema, config.network)
    rows = {**data.split_rows, TRAIN: data.split_rows[TRAIN][:TRAINED_ON], VALID: data.split_rows[VALID][:1_000]}
    train(network, dataclasses.replace(data, split_rows=rows), config, rng=np.random.default_rng(0))
    return network


def _calibrated(network: Network, data: EncodedDataset) -> CalibratedNetwork:
    """With the curve, the more delicate calibration, and a correction for down-sampling."""
    valid = data.split_rows[VALID]
    fit = fit_calibration(CalibrationMethod.ISOTONIC, predict_logits(network, data, valid), data.clicked_N[valid] > 0)
    return CalibratedNetwork(network, fit.layer, negative_sampling_rate=0.5)


def _whole_users(data: EncodedDataset) -> np.ndarray:
    """Test impressions of so many users that there are at least NUM_IMPRESSIONS of them."""
    rows = data.split_rows[TEST]
    by_user = rows[np.argsort(data.user_N[rows], kind="stable")]
    last_user = data.user_N[by_user[NUM_IMPRESSIONS - 1]]
    return by_user[data.user_N[by_user] <= last_user]


def _export(out: Path, network: CalibratedNetwork, name: NetworkName, dataset: Dataset, data: EncodedDataset) -> Path:
    export_bundle(
        out,
        network=network,
        name=name,
        encoder=data.encoder,
        golden_requests=golden_requests(dataset, data),
        training={},
        metrics={},
    )
    return out


def _replay(
    service: RunningService, redis_url: str, data: EncodedDataset, requests: Sequence[ScoringRequest]
) -> list[float]:
    """The CTR of each request's first candidate, every request as a user of its own with the history of that moment."""
    users = [
        UserRecord(
            user_id=f"impression {number}",
            behaviours=[TimedBehaviour(str(item), time, {}) for time, item in enumerate(request.behaviours)],
            profile=request.profile,
        )
        for number, request in enumerate(requests)
    ]
    service.runner.run(_write(redis_url, data, users))
    ctrs = []
    for user, request in zip(users, requests, strict=True):
        context = {feature: value for feature, value in request.context.items() if value is not None}
        body = {"user_id": user.user_id, "candidates": [{"ad_id": request.candidates[0], "bid": 1.0}]}
        answer = service.rank({**body, "context": context}).json()
        assert answer["degraded"] == []
        assert answer["behaviours"] == len(request.behaviours)
        ctrs.append(answer["ads"][0]["ctr"])
    return ctrs


async def _write(redis_url: str, data: EncodedDataset, users: Sequence[UserRecord]) -> None:
    connection = connect(redis_url, timeout_ms=10_000, max_connections=1)
    try:
        await RedisFeatureWriter(connection, data.encoder.schema).write_users(users)
    finally:
        await connection.aclose()
