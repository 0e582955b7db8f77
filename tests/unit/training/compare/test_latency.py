from pathlib import Path
from typing import Any

import pytest

from dinrank.model.bundle.graph import graph_inputs
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.vocabulary import UNKNOWN_ID
from dinrank.training.compare import latency
from dinrank.training.compare.latency import NUM_CANDIDATES, Latency, measure_latencies
from tests.fixtures.bundle import make_bundle


class FakeSession:
    """Takes the seconds that its folder's name says, of a clock that nothing else moves."""

    now = 0.0
    turns: list[tuple[str, dict[str, Any]]] = []

    def __init__(self, graph: Path, options: Any, providers: list[str]) -> None:
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
        self.name = graph.parent.name

    def run(self, outputs: list[str], feed: dict[str, Any]) -> None:
        slow_once = 100.0 if len(self.turns) == 12 else 0.0
        FakeSession.now += float(self.name) + slow_once
        self.turns.append((self.name, feed))


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What ran, after two bundles were measured: the folder's name and the graph's inputs."""
    FakeSession.turns, FakeSession.now = [], 0.0
    monkeypatch.setattr(latency.ort, "InferenceSession", FakeSession)
    monkeypatch.setattr(latency.time, "perf_counter", lambda: FakeSession.now)
    bundles = {"quick": make_bundle(tmp_path / "0.25"), "slow": make_bundle(tmp_path / "2")}
    assert measure_latencies(bundles, rounds=5) == {"quick": Latency(250.0, 5), "slow": Latency(2000.0, 5)}
    return FakeSession.turns


def test_networks_take_turns_and_one_slow_turn_does_not_count(turns: list[tuple[str, dict[str, Any]]]) -> None:
    assert [name for name, _ in turns] == ["0.25", "2"] * (5 + 5)


def test_the_request_has_the_longest_golden_history_and_items_of_the_catalogue(
    turns: list[tuple[str, dict[str, Any]]], tmp_path: Path
) -> None:
    """The longest has seven behaviours, of which the model takes five: the last is item 1, which has index 2."""
    feed = turns[0][1]
    assert feed.keys() == graph_inputs(open_bundle(tmp_path / "2").schema).keys()
    assert len(feed["candidate_item_id"]) == NUM_CANDIDATES
    assert set(feed["candidate_item_id"].tolist()) == {UNKNOWN_ID, 2, 3, 4, 5, 6}  # "rare" has no index of its own
    assert feed["behaviour_item_id"].tolist() == [3, UNKNOWN_ID, 5, 6, 2]
