"""Graphs that never end, and bundles that change under the service: it goes on, is replaced, or says why it ends."""

import json
import os
import re
import shutil
import signal
import threading
import time
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fixtures.bundle import declare_as_genuine, expected_ctr, make_bundle
from tests.fixtures.command import ONE_AD, TIMEOUT_S, Served, assert_gone, run, served
from tests.fixtures.failing_bundle import endless_bundle, stuck_bundle
from tests.fixtures.redis_server import wait_until
from tests.fixtures.service import ADMIN, running_service
from tests.integration.test_processes import listening
from tests.integration.test_reload import damaged, switch

ENDLESS = {"user_id": "nobody", "candidates": [{"ad_id": "3", "bid": 1.0}]}
CTR = expected_ctr("1")


def test_a_run_that_never_ends_is_ended_and_other_requests_are_answered(tmp_path: Path, redis_url: str) -> None:
    bundle = endless_bundle(tmp_path)
    with running_service(bundle, redis_url, redis_timeout_ms=5_000, scoring_timeout_ms=300) as service:
        for _ in range(2):
            refused = service.rank(ENDLESS)
            assert (refused.status_code, refused.json()["type"]) == (500, "urn:dinrank:problem:prediction-failed")
            assert service.rank(ONE_AD).json()["ads"][0]["ctr"] == pytest.approx(CTR, abs=1e-6)
        assert service.get("/readyz").status_code == 200
        assert service.metric('dinrank_requests_total{outcome="prediction-failed"}') == 2


def test_a_bundle_whose_graph_never_ends_is_refused_and_the_old_one_serves_on(
    bundle_path: Path, tmp_path: Path, redis_url: str
) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    settings = {"redis_timeout_ms": 5_000, "bundle_poll_ms": 0, "bundle_timeout_ms": 1_500}
    with running_service(link, redis_url, **settings) as service:
        switch(link, endless_bundle(tmp_path, golden_holds_it=True))
        refused = service.request("POST", "/admin/reload", headers=ADMIN)
        assert refused.status_code == 409
        assert "model.onnx: expected answers to all golden requests within 1.5 s" in refused.json()["detail"]
        assert service.rank(ONE_AD).json()["ads"][0]["ctr"] == pytest.approx(CTR, abs=1e-6)


STUCK_SETTINGS = {"DINRANK_SCORING_TIMEOUT_MS": "300", "DINRANK_STUCK_AFTER_MS": "1500"}


def rank_in_background(service: Served) -> threading.Thread:
    def rank() -> None:
        try:
            httpx.post(f"{service.address}/rank", json=ENDLESS, timeout=TIMEOUT_S)
        except httpx.TransportError:
            return  # its worker was replaced

    thread = threading.Thread(target=rank)
    thread.start()
    return thread


def readiness(service: Served) -> str:
    try:
        return str(httpx.get(f"{service.address}/readyz", timeout=30).json()["status"])
    except httpx.TransportError:
        return "gone"


def test_a_worker_whose_run_cannot_be_ended_says_so_and_is_replaced(tmp_path: Path, redis_url: str) -> None:
    bundle = stuck_bundle(tmp_path)
    with served(tmp_path, bundle, "--redis", redis_url, "--workers", "2", **STUCK_SETTINGS) as service:
        wait_until(lambda: len(listening(service)) == 2, "both workers listen")
        before = {process.pid for process in listening(service)}
        caller = rank_in_background(service)
        wait_until(lambda: readiness(service) == "stuck", "readyz says that a worker is stuck")
        wait_until(
            lambda: len(after := {process.pid for process in listening(service)}) == 2 and len(before & after) == 1,
            "the stuck worker is replaced",
        )
        caller.join(TIMEOUT_S)
        for _ in range(10):
            ranking = httpx.post(f"{service.address}/rank", json=ONE_AD, timeout=30).json()
            assert ranking["ads"][0]["ctr"] == pytest.approx(CTR, abs=1e-6)
    said = service.output.read_text()
    assert "worker_stuck" in said
    assert "sessions.py" in said  # where it stood


def test_a_single_worker_that_is_stuck_ends_so_that_its_supervisor_starts_it_again(
    tmp_path: Path, redis_url: str
) -> None:
    bundle = stuck_bundle(tmp_path)
    with served(tmp_path, bundle, "--redis", redis_url, **STUCK_SETTINGS) as service:
        caller = rank_in_background(service)
        assert service.process.wait(TIMEOUT_S) == 1
        caller.join(TIMEOUT_S)


@pytest.mark.parametrize("workers", ["1", pytest.param("2", marks=pytest.mark.long)])
def test_sigterm_ends_a_service_with_a_run_that_cannot_be_ended(tmp_path: Path, redis_url: str, workers: str) -> None:
    bundle = stuck_bundle(tmp_path)
    with served(tmp_path, bundle, "--redis", redis_url, "--workers", workers) as service:
        caller = rank_in_background(service)
        wait_until(lambda: is_at_work(service), "the request is being scored")
        began = time.monotonic()
        assert_gone(service.stop(signal.SIGTERM))
        assert time.monotonic() - began < 30.0
        caller.join(TIMEOUT_S)


def is_at_work(service: Served) -> bool:
    return any(process.cpu_percent(0.1) > 50.0 for process in service.family())


def is_graph_check(process: psutil.Process) -> bool:
    return "dinrank.service.lineup.graph_check" in process.cmdline()


def test_sigterm_ends_a_verification_that_never_ends(bundle_path: Path, tmp_path: Path, redis_url: str) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    with served(tmp_path, link, "--redis", redis_url) as service:
        switch(link, endless_bundle(tmp_path, golden_holds_it=True))
        wait_until(
            lambda: any(is_graph_check(each) for each in service.family()),
            "it is verified",
        )
        assert_gone(service.stop(signal.SIGTERM))


def test_a_fresh_start_with_a_broken_bundle_is_one_line(bundle_path: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "bundle"))
    (bundle / "golden.json").write_text("null")
    declare_as_genuine(bundle, "golden.json")
    ended = run(tmp_path, "serve", "--bundle", str(bundle), "--port", "0")
    assert ended.returncode == 1
    assert re.fullmatch(r"error: golden.json: expected .*, found .*\n", ended.stderr), ended.stderr


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bundle_that_is_overwritten_in_place_serves_on_as_it_was(
    bundle_path: Path, tmp_path: Path, redis_url: str, workers: str
) -> None:
    """As `cp -r` over it does, and as a copy that breaks off leaves it."""
    place = Path(shutil.copytree(bundle_path, tmp_path / "place"))
    other = make_bundle(tmp_path / "other", shift=0.7)
    with served(tmp_path, place, "--redis", redis_url, "--workers", workers, DINRANK_BUNDLE_POLL_MS="0") as service:
        workers_before = {process.pid for process in listening(service)}
        for path in other.rglob("*.npy"):
            os.truncate(place / path.relative_to(other), 0)
        shutil.copyfile(other / "model.onnx", place / "model.onnx")
        for _ in range(5):
            ranking = httpx.post(f"{service.address}/rank", json=ONE_AD, timeout=30).json()
            assert ranking["ads"][0]["ctr"] == pytest.approx(CTR, abs=1e-6)
        shutil.copytree(other, place, dirs_exist_ok=True)
        service.process.send_signal(signal.SIGHUP)
        new = json.loads((other / "manifest.json").read_text())["model_version"]
        wait_until(lambda: httpx.get(f"{service.address}/model", timeout=30).json()["version"] == new, "it follows")
        assert {process.pid for process in listening(service)} == workers_before


def test_a_killed_worker_is_replaced_from_the_service_s_own_copy_when_the_bundle_is_gone(
    bundle_path: Path, tmp_path: Path, redis_url: str
) -> None:
    place = Path(shutil.copytree(bundle_path, tmp_path / "place"))
    with served(tmp_path, place, "--redis", redis_url, "--workers", "2") as service:
        wait_until(lambda: len(listening(service)) == 2, "both workers listen")
        shutil.rmtree(place)
        before = {process.pid for process in listening(service)}
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: len({process.pid for process in listening(service)} - before) == 2, "new workers listen")
        ranking = httpx.post(f"{service.address}/rank", json=ONE_AD, timeout=TIMEOUT_S).json()
        assert ranking["ads"][0]["ctr"] == pytest.approx(CTR, abs=1e-6)


def test_with_no_worker_left_the_listener_closes_and_the_service_ends_with_a_message(
    bundle_path: Path, tmp_path: Path, redis_url: str
) -> None:
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    with served(tmp_path, link, "--redis", redis_url, "--workers", "2") as service:
        wait_until(lambda: len(listening(service)) == 2, "both workers listen")
        shutil.rmtree(next((tmp_path / "tmp").glob("dinrank-run-*")) / "bundles")  # nothing good is left at all
        switch(link, damaged(bundle_path, tmp_path / "bad"))
        for process in listening(service):
            os.kill(process.pid, signal.SIGKILL)
        assert service.process.wait(TIMEOUT_S) == 1
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{service.address}/livez", timeout=30)
    assert "error: no worker is left, and none can start" in service.output.read_text()
