"""Everything about the application but POST /rank's answers: health, model, metrics, documents, bugs, its end."""

import gc
import re
import threading
from pathlib import Path

import pytest

from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.reader import open_bundle
from dinrank.service.api.rank_bodies import RankRequest, RankResponse
from dinrank.service.app import create_app
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.settings import Settings
from tests.fixtures.bundle import make_bundle
from tests.fixtures.failing_bundle import bundle_that_fails_for_item_3
from tests.fixtures.redis_server import RedisServer, wait_until
from tests.fixtures.service import RunningService, running_service

ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}


def test_the_process_lives_and_is_ready(service: RunningService, bundle_path: Path) -> None:
    version = open_bundle(bundle_path).manifest.model_version
    assert service.get("/livez").json() == {"status": "alive"}
    assert service.get("/readyz").json() == {
        "status": "ready",
        "model": {"name": "formula", "version": version},
        "feature_store": "available",
        "refused_bundle": None,
        "challengers": [],
    }


def test_the_model_says_what_it_takes_and_where_it_comes_from(service: RunningService, bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    assert service.get("/model").json() == {
        "name": "formula",
        "version": bundle.manifest.model_version,
        "features": bundle.schema.to_json()["features"],
        "max_behaviours": 5,
        "max_candidates": 50,
        "explains": True,
        "training": {"dataset": "by hand", "seed": 0},
        "metrics": {"valid": {"auc": 0.75}},
        "calibration": {"method": "none"},
    }


def test_metrics_are_in_the_prometheus_format(service: RunningService) -> None:
    service.rank(ONE_AD)
    response = service.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=")
    assert 'dinrank_stage_seconds_count{stage="total"}' in response.text
    assert 'dinrank_model_info{name="formula",role="champion",version="' in response.text


def test_each_stage_of_a_request_is_timed(service: RunningService) -> None:
    names = [f'dinrank_stage_seconds_count{{stage="{stage}"}}' for stage in ("store", "encode", "score", "total")]
    before = [service.metric(name) for name in names]
    service.rank(ONE_AD)
    assert [service.metric(name) for name in names] == [count + 1 for count in before]


def test_the_examples_in_the_documents_are_valid(service: RunningService) -> None:
    document = service.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    [request] = schemas["RankRequest"]["examples"]
    [response] = schemas["RankResponse"]["examples"]
    assert RankRequest.model_validate(request).to_task("r1").top_k == 20
    answer = RankResponse.model_validate(response)
    assert [ad.ecpm for ad in answer.ads] == pytest.approx([ad.bid * ad.ctr for ad in answer.ads])
    assert sorted(answer.ads, key=lambda ad: -ad.ecpm) == answer.ads


def test_the_page_of_the_documents_loads_nothing_from_other_hosts(service: RunningService) -> None:
    page = service.get("/docs")
    assert page.status_code == 200
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(loaded) >= 3  # a script, styles and a picture
    for path in loaded:
        assert path.startswith("/docs/parts/")
        assert service.get(path).status_code == 200
    assert "//" not in re.sub(r"<!--.*?-->|^\s*//.*$", "", page.text, flags=re.MULTILINE | re.DOTALL)
    assert service.get("/docs/parts/../../etc/passwd").status_code == 404


def test_the_documents_name_every_status_of_a_ranking(service: RunningService) -> None:
    responses = service.get("/openapi.json").json()["paths"]["/rank"]["post"]["responses"]
    assert sorted(responses) == ["200", "400", "408", "413", "422", "500", "503"]
    assert list(responses["422"]["content"]) == ["application/problem+json"]


def test_the_documents_have_the_deadline(service: RunningService) -> None:
    [parameter] = service.get("/openapi.json").json()["paths"]["/rank"]["post"]["parameters"]
    assert (parameter["name"], parameter["in"], parameter["required"]) == ("X-Deadline-Ms", "header", False)
    assert parameter["schema"] == {"type": "integer", "minimum": 1, "maximum": 86_400_000}


def test_a_bug_gets_500_and_tells_the_caller_nothing(
    service: RunningService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(Ranker, "rank", broken)
    before = service.metric('dinrank_requests_total{outcome="internal-error"}')
    response = service.rank(ONE_AD, X_Request_ID="r1")
    assert response.status_code == 500
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["X-Request-ID"] == "r1"
    assert "secret" not in response.text
    assert service.metric('dinrank_requests_total{outcome="internal-error"}') == before + 1
    assert 'internal-error request_id="r1" error="RuntimeError(\'a secret\')"' in caplog.messages


def test_a_graph_that_starts_to_fail_gets_500_and_a_log_line(
    tmp_path: Path, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = bundle_that_fails_for_item_3(tmp_path)
    with running_service(bundle, redis_url, redis_timeout_ms=5_000) as service:
        assert service.rank(ONE_AD).status_code == 200
        response = service.rank({"user_id": "42", "candidates": [{"ad_id": "3", "bid": 1.0}]}, X_Request_ID="r1")
    assert response.status_code == 500
    assert response.json()["type"] == "urn:dinrank:problem:prediction-failed"
    assert response.json()["detail"] == "the graph gave nan, which is no click-through rate"
    assert caplog.messages[-1].startswith('prediction-failed request_id="r1" error="the graph gave nan')


def test_a_bundle_that_cannot_be_trusted_never_starts(tmp_path: Path, redis_url: str) -> None:
    bundle = make_bundle(tmp_path / "bundle")
    (bundle / "schema.json").write_bytes(b"{}")
    with pytest.raises(BundleError, match=r"schema.json"), running_service(bundle, redis_url):
        pass


def test_what_was_loaded_is_spared_from_garbage_collection(bundle_path: Path, redis_url: str) -> None:
    gc.unfreeze()  # as another test's service may be running
    before = gc.get_threshold()
    with running_service(bundle_path, redis_url):
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold()[0] >= before[0]
    assert gc.get_freeze_count() == 0
    assert gc.get_threshold() == before


def test_creating_an_application_opens_nothing(tmp_path: Path) -> None:
    threads = threading.active_count()
    create_app(Settings.read(bundle=tmp_path / "no such bundle", redis="redis://127.0.0.1:1"))
    assert threading.active_count() == threads


def test_what_an_application_opened_is_closed_with_it(
    bundle_path: Path, redis_server: RedisServer, redis_url: str
) -> None:
    def connections() -> int:
        return len(redis_server.client.client_list())

    before = (threading.active_count(), connections())
    with running_service(bundle_path, redis_url, redis_timeout_ms=5_000) as service:
        service.rank(ONE_AD)
        assert connections() > before[1]
    gc.collect()
    wait_until(lambda: (threading.active_count(), connections()) == before, "threads and connections are gone")
