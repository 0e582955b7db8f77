"""Stages and activation table against the network. The stages are exported once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dinrank.model.bundle import stages as stages_of_bundle
from dinrank.model.bundle.activations import ABSENT, ActivationTable
from dinrank.model.bundle.graph import behaviour_input, candidate_input, request_input
from dinrank.model.bundle.request import OVERRIDDEN_ROW, EncodedRequest
from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.bundle.stages import (
    WEIGHTS_BY_BEHAVIOUR,
    WEIGHTS_BY_CANDIDATE,
    RunStage,
    StagedGraph,
    stage_file,
    stage_inputs,
)
from dinrank.model.layers.calibration import PlattCalibration
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.din import DIN
from dinrank.model.nets.names import NetworkName
from dinrank.training.export.bundle import ServingGraph
from dinrank.training.export.check import open_stages
from dinrank.training.export.fold import FoldedUnit, folded
from dinrank.training.export.graph_files import save_graphs
from dinrank.training.export.stages import stage_graphs, weight_stage
from tests.fixtures.networks import SCHEMA, SMALL, make_awkward, random_indices, random_network

NUM_ROWS = 12  # of a made-up catalogue

ITEM_IDS_ALONE = FeatureSchema(features=SCHEMA.features[:1], max_behaviours=SCHEMA.max_behaviours)

PRELU = NetworkConfig(
    embedding_dim=3, tower=(5,), unit=(4,), unit_activation=Activation.PRELU, tower_activation=Activation.PRELU
)

NETWORKS = {"dice": (SMALL, SCHEMA), "prelu on item ids alone": (PRELU, ITEM_IDS_ALONE)}


@dataclass(frozen=True)
class Cut:
    graph: ServingGraph
    directory: Path
    runs: dict[str, RunStage]
    items: dict[str, np.ndarray]  # what the made-up catalogue holds

    @property
    def schema(self) -> FeatureSchema:
        return self.graph.schema

    def staged(self, table: ActivationTable | None = None) -> StagedGraph:
        return StagedGraph(self.schema, self.runs, table=table)


@pytest.fixture(scope="module", params=NETWORKS)
def cut_network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cut:
    config, schema = NETWORKS[request.param]
    network = random_network(NetworkName.DIN, config, schema=schema, std=0.2)
    make_awkward(network)
    calibrated = CalibratedNetwork(network, PlattCalibration(0.7, -0.2), negative_sampling_rate=0.5)
    directory = tmp_path_factory.mktemp("stages")
    save_graphs(directory, stage_graphs(folded(calibrated), schema))
    items = random_indices(schema.group(Group.ITEM), NUM_ROWS, np.random.default_rng(0))
    return Cut(ServingGraph(calibrated, schema).eval(), directory, open_stages(directory), items)


def encoded(of: Cut, candidate_rows: Sequence[int], behaviour_rows: Sequence[int], seed: int) -> EncodedRequest:
    """A request of catalogue rows; OVERRIDDEN_ROW stands for an item with indices of its own."""
    rng = np.random.default_rng(seed)
    item_features = of.schema.group(Group.ITEM)
    request_features = (*of.schema.group(Group.USER), *of.schema.group(Group.CONTEXT))
    inputs: dict[str, np.ndarray] = {}
    for rows, name_of in ((candidate_rows, candidate_input), (behaviour_rows, behaviour_input)):
        own = random_indices(item_features, len(rows), rng)
        is_own = np.array([row == OVERRIDDEN_ROW for row in rows], dtype=bool)
        for feature in item_features:
            values = of.items[feature.name][np.maximum(np.array(rows, dtype=np.int64), 0)]
            values[is_own] = own[feature.name][is_own]
            inputs[name_of(feature)] = values
    inputs |= {
        request_input(feature): values
        for feature, values in zip(request_features, random_indices(request_features, 1, rng).values(), strict=True)
    }
    return EncodedRequest(inputs, np.array(candidate_rows, np.int64), np.array(behaviour_rows, np.int64))


def table_of(cut_network: Cut, ads: Sequence[int], items: Sequence[int]) -> ActivationTable:
    """Weights by the trained network itself, a pair at a time."""
    weights = np.empty((len(ads), len(items)), dtype=np.float32)
    for line, ad in enumerate(ads):
        for column, item in enumerate(items):
            alone = cut_network.graph.activation_weights(encoded(cut_network, [ad], [item], 0).inputs)
            assert alone is not None
            weights[line, column] = alone[0, 0]
    return ActivationTable(weights, places(ads), places(items))


def places(rows: Sequence[int]) -> np.ndarray:
    place = np.full(NUM_ROWS, ABSENT, dtype=np.int32)
    place[list(rows)] = np.arange(len(rows))
    return place


rows = st.integers(0, NUM_ROWS - 1) | st.just(OVERRIDDEN_ROW)

some_rows = st.lists(st.integers(0, NUM_ROWS - 1), unique=True, max_size=6)


@settings(deadline=None, max_examples=40)
@given(
    candidates=st.lists(rows, min_size=1, max_size=20),
    behaviours=st.lists(rows, max_size=30),
    ads=some_rows,
    items=some_rows,
    tile=st.sampled_from([1, 3, 16, 1024]),
    seed=st.integers(0, 2**32),
)
def test_stages_and_table_give_the_networks_answer(
    cut_network: Cut,
    candidates: list[int],
    behaviours: list[int],
    ads: list[int],
    items: list[int],
    tile: int,
    seed: int,
) -> None:
    """Whatever mix of known, unknown and overridden ads and items, in tiles of any size, with and without a table."""
    request = encoded(cut_network, candidates, behaviours, seed)
    expected_C, expected_CT = (
        cut_network.graph.score(request.inputs),
        cut_network.graph.activation_weights(request.inputs),
    )
    assert expected_CT is not None
    table = table_of(cut_network, ads, items)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stages_of_bundle, "TILE", tile)
        plain, looked_up = cut_network.staged().answer(request), cut_network.staged(table).answer(request)
    for answer in (plain, looked_up):
        np.testing.assert_allclose(answer.ctr_C, expected_C, rtol=0, atol=1e-5)
        np.testing.assert_allclose(answer.weights_CT, expected_CT, rtol=1e-5, atol=1e-5)
    hits = sum(ad in ads for ad in candidates) * sum(item in items for item in behaviours)
    assert (plain.num_looked_up, looked_up.num_looked_up) == (0, hits)


@pytest.mark.parametrize(("num_candidates", "num_behaviours"), [(200, 100), (3, 10_000), (1_500, 2)])
def test_large_requests_are_cut_into_tiles(cut_network: Cut, num_candidates: int, num_behaviours: int) -> None:
    rng = np.random.default_rng(1)
    sizes = (num_candidates, num_behaviours)
    candidates, behaviours = (rng.integers(0, NUM_ROWS, size).tolist() for size in sizes)
    request = encoded(cut_network, candidates, behaviours, 1)
    expected_C = cut_network.graph.score(request.inputs)
    for staged in (cut_network.staged(), cut_network.staged(table_of(cut_network, [1, 3, 7], [0, 2, 3, 8, 9]))):
        np.testing.assert_allclose(staged.answer(request).ctr_C, expected_C, rtol=0, atol=1e-5)


def test_a_wrong_table_shows_in_the_answer(cut_network: Cut) -> None:
    """So the equality above is not vacuous."""
    table = table_of(cut_network, [1], [2])
    wrong = ActivationTable(table.weights_AB + 1.0, table.line_R, table.column_R)
    request = encoded(cut_network, [1], [2, 2, 2], 0)
    answer = cut_network.staged(wrong).answer(request)
    assert np.abs(answer.ctr_C - cut_network.graph.score(request.inputs)).max() > 1e-4


def test_stages_hold_standard_operators_and_no_path_of_the_machine(cut_network: Cut) -> None:
    for file in cut_network.directory.iterdir():
        model = onnx.load(file)
        assert [each.domain for each in model.opset_import] == [""]
        assert str(Path(torch.__file__).parent).encode() not in file.read_bytes()


@pytest.mark.parametrize("name", [name for name in NetworkName if name is not NetworkName.DIN])
def test_only_din_is_cut(name: NetworkName) -> None:
    """The weights of DIEN see hidden states, and no other network has any."""
    assert stage_graphs(folded(random_network(name)), SCHEMA) == {}


def test_every_stage_has_a_file(cut_network: Cut) -> None:
    assert {file.name for file in cut_network.directory.iterdir()} == {
        stage_file(stage) for stage in stages_of_bundle.STAGES
    }


@settings(deadline=None, max_examples=20)
@given(
    num_candidates=st.integers(1, 6),
    num_behaviours=st.integers(1, 6),
    activation=st.sampled_from(list(Activation)),
    hidden=st.sampled_from([(4,), (5, 3)]),
    seed=st.integers(0, 2**32),
)
def test_the_weights_are_the_units_from_either_side(
    num_candidates: int, num_behaviours: int, activation: Activation, hidden: tuple[int, ...], seed: int
) -> None:
    config = NetworkConfig(embedding_dim=3, tower=(2,), unit=hidden, unit_activation=activation)
    network = random_network(NetworkName.DIN, config, schema=ITEM_IDS_ALONE, seed=seed)
    assert isinstance(network, DIN)
    unit, served = network.unit, folded(network)
    assert isinstance(served, DIN) and isinstance(served.unit, FoldedUnit)
    candidates_CD, behaviours_TD = torch.randn(num_candidates, 3), torch.randn(num_behaviours, 3)
    with torch.inference_mode():
        expected = unit(unit.project_candidates(candidates_CD)[:, None], unit.project_behaviours(behaviours_TD))
    for stage, few, many in (
        (WEIGHTS_BY_CANDIDATE, candidates_CD, behaviours_TD),
        (WEIGHTS_BY_BEHAVIOUR, behaviours_TD, candidates_CD),
    ):
        graph = weight_stage(served.unit, stage, stage_inputs(ITEM_IDS_ALONE, 3)[stage])
        session = ort.InferenceSession(graph.model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"few": few.numpy(), "many": np.ascontiguousarray(many.numpy().T)})
        wanted = expected if stage == WEIGHTS_BY_CANDIDATE else expected.t()
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)
