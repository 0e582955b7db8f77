"""Graphs are tried in a process that can be ended."""

import json
import shutil
import threading
from pathlib import Path

import psutil
import pytest

from dinrank.model.bundle.errors import BundleError, GoldenMismatch, SchemaMismatch, UnsupportedFormat
from dinrank.service.lineup.graph_check import CheckStopped, GraphTimedOut, check_graphs
from tests.fixtures.bundle import declare_as_genuine, golden_answers, make_bundle
from tests.fixtures.failing_bundle import endless_bundle


def check(bundle: Path, *, timeout_s: float = 60.0, is_stopped: bool = False) -> None:
    stopped = threading.Event()
    if is_stopped:
        stopped.set()
    check_graphs(bundle, timeout_s=timeout_s, stopped=stopped)


def test_good_graphs_pass(bundle_path: Path) -> None:
    check(bundle_path)


def test_graphs_that_never_end_are_refused_and_their_process_is_gone(tmp_path: Path) -> None:
    bundle = endless_bundle(tmp_path, golden_holds_it=True)
    with pytest.raises(GraphTimedOut, match=r"model.onnx: expected answers to all golden requests within 1.5 s"):
        check(bundle, timeout_s=1.5)
    assert not [each for each in psutil.Process().children() if "dinrank.service.lineup.graph_check" in each.cmdline()]


def test_a_check_that_nobody_needs_any_more_ends(tmp_path: Path) -> None:
    with pytest.raises(CheckStopped):
        check(endless_bundle(tmp_path, golden_holds_it=True), is_stopped=True)


def test_other_answers_are_refused_as_in_this_process(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", golden=golden_answers(shift=0.01))
    with pytest.raises(GoldenMismatch, match=r"^model.onnx: expected CTR .* a difference of "):
        check(bundle)


def test_a_graph_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"\x08\x09\x12")
    with pytest.raises(UnsupportedFormat, match=r"^model.onnx: expected a graph that ONNX Runtime loads"):
        check(make_bundle(tmp_path / "bundle", graph=graph))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("candidates", 5),
        ("candidates", [{"a": 1}]),
        ("behaviours", None),
        ("behaviours", [[]]),
        ("profile", []),
        ("context", {"hour": {"deep": []}}),
        ("behaviour_attributes", {"99": {"genre": ["Drama"]}}),
        ("candidate_attributes", {"-1": 7}),
    ],
)
def test_golden_requests_that_no_service_could_answer_are_refused(
    bundle_path: Path, tmp_path: Path, field: str, value: object
) -> None:
    bundle = Path(shutil.copytree(bundle_path, tmp_path / "own"))
    answers = json.loads((bundle / "golden.json").read_text(encoding="utf-8"))
    answers[0]["request"][field] = value
    (bundle / "golden.json").write_text(json.dumps(answers), encoding="utf-8")
    declare_as_genuine(bundle, "golden.json")
    with pytest.raises(BundleError) as refused:
        check(bundle)
    assert isinstance(refused.value, GoldenMismatch | SchemaMismatch)
