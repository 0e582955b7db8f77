"""What a bundle's graphs, and whoever writes to its files, can do to a service that already serves it."""

import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.chaos.beside import beside
from tests.chaos.bundle_faults import wait_until_all_serve
from tests.chaos.driver import CUT_OFF, problem_name
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, WORKERS, Ground, wait_until
from tests.fixtures.failing_bundle import Trigger, endless_bundle, stuck_bundle

_ENDLESS = {"user_id": "nobody", "candidates": [{"ad_id": "1", "bid": 1.0}], "context": {"is_weekend": True}}
_PAUSE_S = 0.5  # between two requests that the graph does not answer
_PATIENCE_S = 30.0


@contextmanager
def _overwritten_in_place(ground: Ground) -> Iterator[None]:
    """Every file of the served bundle is cut short, removed, and written again with another bundle's bytes."""
    place = Path(shutil.copytree(ground.bundle_a, ground.directory / "in-place"))
    ground.switch_to(place)
    time.sleep(2.0)  # workers look at the link
    before = set(ground.service.running_workers())
    yield
    files = [path for path in place.rglob("*") if path.is_file()]
    for file in files:
        os.truncate(file, 3)
    time.sleep(2.0)
    shutil.copytree(ground.bundle_b, place, dirs_exist_ok=True)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_b))
    for file in files:
        file.unlink()
    time.sleep(2.0)
    ground.switch_to(ground.bundle_a)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_a))
    ground.expect(set(ground.service.running_workers()) == before, "no worker ended")


@contextmanager
def _endless_for_some(ground: Ground) -> Iterator[None]:
    """A few requests reach a loop that goes on for ever; the others are answered."""
    with _serving(ground, endless_bundle(_home(ground, "endless"), trigger=Trigger.WEEKEND)):
        with _asked_again_and_again(ground) as seen:
            yield
        allowed = {"prediction-failed", "overloaded", "deadline-too-short"}
        ground.expect(seen.keys() <= allowed, f"what never ends is ended, and not {seen}")
        ground.expect(seen["prediction-failed"] > 0, "runs were ended")


@contextmanager
def _endless_when_verified(ground: Ground) -> Iterator[None]:
    """A bundle whose golden requests are never answered lies at the link."""
    bad = endless_bundle(_home(ground, "endless-golden"), golden_holds_it=True)
    ground.switch_to(bad)
    yield
    wait_until(lambda: _refused_file(ground) == "model.onnx", "/readyz names the graph", timeout_s=_PATIENCE_S)
    ground.switch_to(ground.bundle_a)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_a))


@contextmanager
def _stuck(ground: Ground) -> Iterator[None]:
    """A run within one operator that takes minutes: its worker is replaced."""
    with _serving(ground, stuck_bundle(_home(ground, "stuck"), trigger=Trigger.WEEKEND)):
        before = set(ground.service.running_workers())
        yield
        with httpx.Client(base_url=f"http://{HOST}:{ground.service.port}", timeout=_PATIENCE_S) as client:
            try:
                client.post("/rank", json=_ENDLESS)
            except httpx.TransportError:
                pass  # its worker ended
            else:
                ground.expect(False, "the request that cannot be ended is cut off")
        wait_until(
            lambda: (
                len(ground.service.running_workers()) == WORKERS
                and len(before - set(ground.service.running_workers())) == 1
            ),
            "the stuck worker is replaced",
            timeout_s=_PATIENCE_S,
        )


def _home(ground: Ground, name: str) -> Path:
    home = ground.directory / name
    home.mkdir()
    return home


@contextmanager
def _serving(ground: Ground, bundle: Path) -> Iterator[None]:
    """The bundle answers as the formula does, and serves in the block."""
    version = ground.version_of(bundle)
    ground.driver.shifts[version] = 0.0
    ground.switch_to(bundle)
    wait_until_all_serve(ground, version)
    yield
    ground.switch_to(ground.bundle_a)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_a))


@contextmanager
def _asked_again_and_again(ground: Ground) -> Iterator[Counter[str]]:
    seen: Counter[str] = Counter()

    def ask(over: threading.Event) -> None:
        with httpx.Client(base_url=f"http://{HOST}:{ground.service.port}", timeout=_PATIENCE_S) as client:
            while not over.wait(_PAUSE_S):
                response = client.post("/rank", json=_ENDLESS)
                seen["ok" if response.is_success else problem_name(response)] += 1

    with beside(ask):
        yield seen


def _refused_file(ground: Ground) -> str | None:
    refused = ground.service.get("/readyz").json()["refused_bundle"]
    return refused["file"] if refused else None


GRAPH_FAULTS = (
    Fault("a served bundle overwritten in place", _overwritten_in_place, lasts_s=0.0),
    Fault(
        "a graph that never ends for some ads",
        _endless_for_some,
        lasts_s=4.0,
        promised=frozenset({"overloaded"}),
        settings={"DINRANK_SCORING_TIMEOUT_MS": "100", "DINRANK_BUNDLE_TIMEOUT_MS": "3000"},
    ),
    Fault(
        "a bundle whose graph never ends when it is verified",
        _endless_when_verified,
        settings={"DINRANK_SCORING_TIMEOUT_MS": "100", "DINRANK_BUNDLE_TIMEOUT_MS": "3000"},
    ),
    Fault(
        "a run that cannot be ended",
        _stuck,
        lasts_s=1.0,
        promised=frozenset({CUT_OFF, "overloaded", "late"}),
        recovery_s=10.0,
        settings={"DINRANK_SCORING_TIMEOUT_MS": "300", "DINRANK_STUCK_AFTER_MS": "1000"},
    ),
)
