"""What bundles can do to the service: good ones come and go under load, bad ones are refused."""

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from dinrank.model.bundle.files import GOLDEN_FILE
from dinrank.model.bundle.manifest import MANIFEST_FILE
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, Ground, wait_until
from tests.fixtures.bundle import declare_as_genuine, golden_answers, make_bundle, write_graph
from tests.fixtures.failing_bundle import bundle_that_fails_for_item_3

_SWITCHES = 6
_NO_POLLING = {"DINRANK_BUNDLE_POLL_MS": "0"}
_FOLLOWS_WITHIN_S = 20.0


@contextmanager
def _switched_by_link(ground: Ground) -> Iterator[None]:
    """Workers look at the link every second."""
    yield from _to_and_fro(ground, lambda: None)


@contextmanager
def _switched_by_signal(ground: Ground) -> Iterator[None]:
    yield from _to_and_fro(ground, lambda: os.kill(ground.service.process.pid, signal.SIGHUP))


@contextmanager
def _switched_by_request(ground: Ground) -> Iterator[None]:
    def ask() -> None:
        where = f"http://{HOST}:{ground.service.port}/admin/reload"
        answer = httpx.post(where, headers={"X-API-Key": ground.service.admin_token()}, timeout=30.0)
        ground.expect(answer.status_code == httpx.codes.OK, f"/admin/reload succeeds, and not: {answer.text[:200]}")

    yield from _to_and_fro(ground, ask)


def _to_and_fro(ground: Ground, ask: Callable[[], None]) -> Iterator[None]:
    """One bundle and the other in turn; the last is the one that was there in the beginning."""
    first = len(ground.driver.sent)
    yield
    for number in range(_SWITCHES):
        bundle = ground.bundle_a if number % 2 else ground.bundle_b
        ground.switch_to(bundle)
        ask()
        wait_until_all_serve(ground, ground.version_of(bundle))
    answered = {each.version for each in ground.driver.sent[first:] if each.version}
    ground.expect(answered == ground.driver.shifts.keys(), f"both bundles answered, and not only {answered}")


def wait_until_all_serve(ground: Ground, version: str) -> None:
    def all_serve() -> bool:
        served = f'dinrank_model_info{{name="formula",role="champion",version="{version}"}}'
        return ground.service.metric(served) == len(ground.service.running_workers())

    wait_until(all_serve, f"all workers serve {version}", timeout_s=_FOLLOWS_WITHIN_S)


@contextmanager
def _bad_ones(ground: Ground) -> Iterator[None]:
    """Each in turn where the link points: the old one goes on serving, and /readyz names what is wrong."""
    refused = ground.service.metric('dinrank_reloads_total{outcome="refused"}')
    yield
    for name, spoil in _SPOILT.items():
        bad = ground.directory / name
        if not bad.exists():
            spoil(ground, bad)
        ground.switch_to(bad)
        wait_until(lambda b=bad: _refused(ground) == b.name, f"/readyz names {name}", timeout_s=_FOLLOWS_WITHIN_S)
        ground.expect(ground.service.get("/readyz").status_code == httpx.codes.OK, f"/readyz stays 200 with {name}")
    ground.switch_to(ground.bundle_a)
    moved = ground.service.metric('dinrank_reloads_total{outcome="refused"}') - refused
    ground.expect(moved >= len(_SPOILT), f"the counter of refused bundles moves, and not only by {moved}")
    time.sleep(2.0)  # workers look at the link once more


def _refused(ground: Ground) -> str | None:
    """The name of the bundle that a worker refused last and that still lies at the link."""
    refused = ground.service.get("/readyz").json()["refused_bundle"]
    return refused["bundle"] if refused else None


def _copy(ground: Ground, bad: Path) -> None:
    shutil.copytree(ground.bundle_a, bad)


def _flipped_byte(ground: Ground, bad: Path) -> None:
    _copy(ground, bad)
    graph = bad / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.write_bytes(content)


def _file_missing(ground: Ground, bad: Path) -> None:
    _copy(ground, bad)
    (bad / "golden.json").unlink()


def _truncated(ground: Ground, bad: Path) -> None:
    _copy(ground, bad)
    os.truncate(bad / "model.onnx", 100)


def _newer_format(ground: Ground, bad: Path) -> None:
    _copy(ground, bad)
    manifest = json.loads((bad / MANIFEST_FILE).read_text(encoding="utf-8"))
    manifest["format_version"] += 1
    (bad / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")


def _other_golden(ground: Ground, bad: Path) -> None:
    make_bundle(bad, golden=golden_answers(shift=0.01))


def _golden_without_numbers(ground: Ground, bad: Path) -> None:
    """Other answers than the trainer's, and a NaN among these, with which nothing can be compared."""
    graph = bad.with_name(f"{bad.name}.onnx")
    write_graph(graph, shift=0.01)
    make_bundle(bad, graph=_renamed(graph))
    answers = json.loads((bad / GOLDEN_FILE).read_text(encoding="utf-8"))
    answers[0]["ctr"][0] = float("nan")
    (bad / GOLDEN_FILE).write_text(json.dumps(answers), encoding="utf-8")
    declare_as_genuine(bad, GOLDEN_FILE)


def _not_a_number(ground: Ground, bad: Path) -> None:
    graph = bad.with_name(f"{bad.name}.onnx")
    write_graph(graph, shift=float("nan"))
    make_bundle(bad, graph=_renamed(graph))


def _empty_folder(ground: Ground, bad: Path) -> None:
    bad.mkdir()


_SPOILT: dict[str, Callable[[Ground, Path], None]] = {
    "flipped-byte": _flipped_byte,
    "file-missing": _file_missing,
    "truncated-graph": _truncated,
    "newer-format": _newer_format,
    "golden-differs": _other_golden,
    "golden-not-a-number": _golden_without_numbers,
    "not-a-number": _not_a_number,
    "empty-folder": _empty_folder,
}


@contextmanager
def _nan_for_some(ground: Ground) -> Iterator[None]:
    """A graph that passes its golden answers and gives NaN where item 3 comes in."""
    home = ground.directory / "nan-for-some"
    home.mkdir()
    bad = bundle_that_fails_for_item_3(home)
    version = ground.version_of(bad)
    ground.driver.shifts[version] = 0.0
    before = ground.service.metric('dinrank_requests_total{outcome="prediction-failed"}')
    ground.switch_to(bad)
    wait_until_all_serve(ground, version)
    yield
    after = ground.service.metric('dinrank_requests_total{outcome="prediction-failed"}')
    ground.expect(after > before, "requests that the graph cannot answer are counted")
    ground.switch_to(ground.bundle_a)
    wait_until_all_serve(ground, ground.version_of(ground.bundle_a))


def _renamed(graph: Path) -> Path:
    """The writer takes the graph's name as it is."""
    parts = graph.with_suffix(".parts")
    parts.mkdir()
    return graph.rename(parts / "model.onnx")


BUNDLE_FAULTS = (
    Fault("bundles switched by the link", _switched_by_link, lasts_s=0.0, quick=True),
    Fault("bad bundles", _bad_ones, lasts_s=0.0),
    Fault(
        "a graph that gives NaN for some ads",
        _nan_for_some,
        lasts_s=2.0,
        promised=frozenset({"prediction-failed"}),
    ),
    Fault("bundles switched by POST /admin/reload", _switched_by_request, lasts_s=0.0, settings=_NO_POLLING),
    Fault("bundles switched by SIGHUP", _switched_by_signal, lasts_s=0.0, settings=_NO_POLLING),
)
