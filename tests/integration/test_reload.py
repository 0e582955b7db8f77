"""Another bundle at the path: noticed, verified, swapped; or refused, while the one before serves on."""

import asyncio
import gc
import itertools
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from dinrank.model.bundle.reader import open_bundle
from tests.fixtures.bundle import expected_ctr, make_bundle, shifted
from tests.fixtures.redis_server import wait_until
from tests.fixtures.service import ADMIN, RunningService, running_service

SHIFT = 0.7
BODY = {"user_id": "nobody", "candidates": [{"ad_id": "1", "bid": 1.0}, {"ad_id": "2", "bid": 1.0}]}
CTRS = {ad: expected_ctr(ad) for ad in ("1", "2")}
SHIFTED_CTRS = {ad: shifted(ctr, SHIFT) for ad, ctr in CTRS.items()}


@pytest.fixture(scope="module")
def shifted_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("shifted") / "shifted", shift=SHIFT)


@pytest.fixture
def link(bundle_path: Path, tmp_path: Path) -> Path:
    """A symbolic link to the bundle of the formula."""
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    return link


def switch(link: Path, target: Path) -> None:
    """As an operator does it: at every moment the link leads to the one or to the other."""
    new = link.with_name(f"{link.name}.new")
    new.symlink_to(target)
    new.replace(link)


@pytest.fixture
def asked(link: Path, redis_url: str) -> Iterator[RunningService]:
    """A service that looks for another bundle when it is asked only."""
    with running_service(link, redis_url, redis_timeout_ms=5_000, bundle_poll_ms=0) as running:
        yield running


def reload(service: RunningService) -> httpx.Response:
    return service.request("POST", "/admin/reload", headers=ADMIN)


def ctrs(service: RunningService) -> dict[str, float]:
    response = service.rank(BODY)
    assert response.status_code == 200, response.text
    return {ad["ad_id"]: ad["ctr"] for ad in response.json()["ads"]}


def version_of(path: Path) -> str:
    return open_bundle(path).manifest.model_version


def test_a_reload_serves_what_the_link_leads_to_and_switching_back_is_rolling_back(
    asked: RunningService, link: Path, bundle_path: Path, shifted_path: Path
) -> None:
    for path, expected in ((shifted_path, SHIFTED_CTRS), (bundle_path, CTRS)):
        switch(link, path)
        response = reload(asked)
        model = {"name": "formula", "version": version_of(path)}
        assert (response.status_code, response.json()) == (200, {"model": model, "outcome": "swapped"})
        assert ctrs(asked) == pytest.approx(expected, abs=1e-6)
        assert asked.get("/model").json()["version"] == model["version"]
        assert asked.get("/readyz").json()["model"] == model
        others = {version_of(bundle_path), version_of(shifted_path)} - {model["version"]}
        assert asked.metric(f'dinrank_model_info{{name="formula",role="champion",version="{model["version"]}"}}') == 1
        assert asked.metric(f'dinrank_model_info{{name="formula",role="champion",version="{others.pop()}"}}') == 0
    assert asked.metric('dinrank_reloads_total{outcome="swapped"}') == 2


def test_a_reload_of_what_is_served_changes_nothing(asked: RunningService, link: Path, tmp_path: Path) -> None:
    response = reload(asked)
    assert (response.status_code, response.json()["outcome"]) == (200, "unchanged")
    switch(link, make_bundle(tmp_path / "the same bytes"))
    response = reload(asked)
    assert (response.status_code, response.json()["outcome"]) == (200, "unchanged")
    assert asked.metric('dinrank_reloads_total{outcome="unchanged"}') == 2


def damaged(bundle: Path, copy: Path) -> Path:
    """A copy whose graph has one flipped bit."""
    graph = Path(shutil.copytree(bundle, copy)) / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)
    return copy


def test_a_bad_bundle_is_refused_with_its_reason_and_the_old_one_serves_on(
    asked: RunningService, link: Path, bundle_path: Path, shifted_path: Path, tmp_path: Path
) -> None:
    switch(link, damaged(shifted_path, tmp_path / "bad"))
    response = reload(asked)
    problem = response.json()
    assert (response.status_code, problem["type"]) == (409, "urn:dinrank:problem:bundle-refused")
    assert problem["detail"].startswith("bad: model.onnx: expected sha256 ")
    assert ctrs(asked) == pytest.approx(CTRS, abs=1e-6)
    ready = asked.get("/readyz")
    assert (ready.status_code, ready.json()["model"]["version"]) == (200, version_of(bundle_path))
    refused = ready.json()["refused_bundle"]
    assert (refused["bundle"], refused["file"]) == ("bad", "model.onnx")
    assert refused["expected"].startswith("sha256 ")
    assert refused["found"] != refused["expected"].removeprefix("sha256 ")
    assert asked.metric('dinrank_reloads_total{outcome="refused"}') == 1
    switch(link, bundle_path)
    assert reload(asked).json()["outcome"] == "unchanged"
    assert asked.get("/readyz").json()["refused_bundle"] is None


def test_a_graph_that_cannot_be_loaded_is_named_without_its_path(
    asked: RunningService, link: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"no graph")
    switch(link, make_bundle(tmp_path / "bad", graph=graph))
    assert reload(asked).json()["detail"].startswith("bad: model.onnx: expected a graph that ONNX Runtime loads, found")
    ready = asked.get("/readyz")
    assert ready.json()["refused_bundle"]["file"] == "model.onnx"
    assert str(tmp_path) not in ready.text


@pytest.mark.parametrize(
    ("place", "found"),
    [("nothing", "no file"), ("file", "Not a directory"), ("empty", "no file"), ("loop", "Too many levels")],
)
def test_a_path_that_leads_to_no_bundle_is_refused(
    asked: RunningService, link: Path, tmp_path: Path, place: str, found: str
) -> None:
    (tmp_path / "file").write_text("no bundle")
    (tmp_path / "empty").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    switch(link, tmp_path / place)
    assert reload(asked).status_code == 409
    refused = asked.get("/readyz").json()["refused_bundle"]
    assert found in refused["found"]
    assert str(tmp_path) not in str(refused)
    assert ctrs(asked) == pytest.approx(CTRS, abs=1e-6)


def test_a_bundle_that_is_not_there_any_more_serves_on(asked: RunningService, tmp_path: Path, link: Path) -> None:
    """What is mapped stays readable when its directory is removed."""
    switch(link, Path(shutil.copytree(link.resolve(), tmp_path / "copy")))
    switch(link, make_bundle(tmp_path / "shifted", shift=SHIFT))
    assert reload(asked).json()["outcome"] == "swapped"
    shutil.rmtree(tmp_path / "shifted")
    assert reload(asked).status_code == 409
    assert ctrs(asked) == pytest.approx(SHIFTED_CTRS, abs=1e-6)


def wait_for(service: RunningService, reached: Callable[[], bool], what: str) -> None:
    """The application's own tasks run while its event loop does."""

    def look() -> bool:
        service.runner.run(asyncio.sleep(0.01))
        return reached()

    wait_until(look, what)


def test_a_switched_link_is_noticed_without_asking_and_a_refused_one_is_said_once(
    link: Path, redis_url: str, shifted_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_service(link, redis_url, redis_timeout_ms=5_000, bundle_poll_ms=5) as service:
        switch(link, damaged(shifted_path, tmp_path / "bad"))
        wait_for(service, lambda: service.get("/readyz").json()["refused_bundle"] is not None, "the bundle is refused")
        switch(link, shifted_path)
        wait_for(service, lambda: ctrs(service) == pytest.approx(SHIFTED_CTRS, abs=1e-6), "the other bundle serves")
        assert service.get("/readyz").json()["refused_bundle"] is None
        switch(link, tmp_path / "bad")
        wait_for(service, lambda: service.get("/readyz").json()["refused_bundle"] is not None, "it is refused again")
        service.runner.run(asyncio.sleep(0.1))  # twenty looks more
        assert service.metric('dinrank_reloads_total{outcome="refused"}') == 2
        assert len([record for record in caplog.messages if record.startswith("bundle_refused")]) == 2


def test_a_directory_that_was_replaced_is_noticed(redis_url: str, shifted_path: Path, tmp_path: Path) -> None:
    place = make_bundle(tmp_path / "bundle")
    with running_service(place, redis_url, redis_timeout_ms=5_000, bundle_poll_ms=5) as service:
        new = Path(shutil.copytree(shifted_path, tmp_path / "new"))
        place.rename(tmp_path / "old")
        new.rename(place)
        wait_for(service, lambda: ctrs(service) == pytest.approx(SHIFTED_CTRS, abs=1e-6), "the other bundle serves")


def test_no_request_fails_or_mixes_versions_while_bundles_change(
    asked: RunningService, link: Path, bundle_path: Path, shifted_path: Path
) -> None:
    """An answer's CTRs are those of the model that it names."""
    expected = {version_of(bundle_path): CTRS, version_of(shifted_path): SHIFTED_CTRS}

    async def rank_until(done: asyncio.Event) -> list[Any]:
        answers = []
        while not done.is_set():
            answers.append(await asked.client.post("/rank", json=BODY))
        return answers

    async def drive() -> list[Any]:
        done = asyncio.Event()
        callers = [asyncio.create_task(rank_until(done)) for _ in range(8)]
        for path in itertools.islice(itertools.cycle([shifted_path, bundle_path]), 6):
            switch(link, path)
            assert (await asked.client.post("/admin/reload", headers=ADMIN)).json()["outcome"] == "swapped"
        done.set()
        return list(itertools.chain(*await asyncio.gather(*callers)))

    answers = asked.runner.run(drive())
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["model"]["version"] for answer in answers} == expected.keys()
    for answer in answers:
        found = {ad["ad_id"]: ad["ctr"] for ad in answer.json()["ads"]}
        assert found == pytest.approx(expected[answer.json()["model"]["version"]], abs=1e-6)


def test_nothing_of_the_old_bundle_is_kept(
    asked: RunningService, link: Path, bundle_path: Path, shifted_path: Path, tmp_path: Path
) -> None:
    """Not even until the next garbage collection, which does not look at what was there when the service started."""
    app = asked.client._transport.app  # type: ignore[attr-defined]  # httpx has no other way to it
    gone = []
    gc.disable()
    try:
        for path in (shifted_path, bundle_path, shifted_path):
            ctrs(asked)
            served = app.state.line_up.champion
            session = served.predictor._scorer._session
            gone += [weakref.ref(each) for each in (served.ranker, served.predictor, session, session._session)]
            del session
            del served
            switch(link, path)
            assert reload(asked).json()["outcome"] == "swapped"
        switch(link, damaged(bundle_path, tmp_path / "bad"))
        assert reload(asked).status_code == 409
        assert [each() for each in gone] == [None] * len(gone)
    finally:
        gc.enable()


def test_without_the_admin_token_nobody_may_reload(asked: RunningService) -> None:
    refused = asked.request("POST", "/admin/reload")
    assert (refused.status_code, refused.json()["type"]) == (401, "urn:dinrank:problem:unauthorised")
    assert reload(asked).status_code == 200
