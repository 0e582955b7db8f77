"""The exported graph of the folded network against the network as it was trained. One export each: it takes seconds."""

import copy
import dataclasses
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from dinrank.model.bundle.golden import TOLERANCE
from dinrank.model.bundle.graph import (
    CTR_OUTPUT,
    WEIGHTS_OUTPUT,
    behaviour_input,
    candidate_input,
    graph_inputs,
    request_input,
)
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group
from dinrank.model.layers.activation_unit import LocalActivationUnit
from dinrank.model.layers.calibration import IsotonicCalibration
from dinrank.model.layers.gru import Evolution
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.layers.mlp import Activation
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.config import NetworkConfig, Product
from dinrank.model.nets.dien import DIEN
from dinrank.model.nets.names import NetworkName
from dinrank.training.errors import ParityError
from dinrank.training.export.bundle import ServingGraph, check_parity, export_graph
from dinrank.training.export.fold import folded
from tests.fixtures.networks import SCHEMA, SMALL, make_awkward, random_indices, random_network, tensors

Arrays = dict[str, np.ndarray]

REPOSITORY = Path(__file__).parents[4]

PRELU = NetworkConfig(
    embedding_dim=3,
    tower=(5,),
    unit=(4,),
    unit_activation=Activation.PRELU,
    tower_activation=Activation.PRELU,
    interest_product=False,
)

ITEM_IDS_ALONE = FeatureSchema(features=SCHEMA.features[:1], max_behaviours=SCHEMA.max_behaviours)

NETWORKS = {
    **{name.value: (name, SMALL, SCHEMA) for name in NetworkName},
    "pnn with outer products": (NetworkName.PNN, dataclasses.replace(SMALL, product=Product.OUTER), SCHEMA),
    "din with PReLU on item ids alone": (NetworkName.DIN, PRELU, ITEM_IDS_ALONE),
    "base, calibrated": (NetworkName.BASE, SMALL, SCHEMA),
    "dien with AGRU": (NetworkName.DIEN, dataclasses.replace(SMALL, evolution=Evolution.AGRU), SCHEMA),
    "dien with AIGRU on item ids alone": (
        NetworkName.DIEN,
        dataclasses.replace(PRELU, evolution=Evolution.AIGRU),
        ITEM_IDS_ALONE,
    ),
}

CURVE = IsotonicCalibration([-3.0, -1.0, 0.0, 0.5, 4.0], [-5.0, -2.0, -1.9, 0.4, 0.5])


@dataclass(frozen=True)
class Exported:
    graph: ServingGraph
    path: Path
    session: ort.InferenceSession


@pytest.fixture(scope="module", params=NETWORKS)
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, quick_exporter: None
) -> Exported:
    name, config, schema = NETWORKS[request.param]
    network = random_network(name, config, schema=schema, std=0.2)
    make_awkward(network)
    if request.param == "base, calibrated":
        network = CalibratedNetwork(network, CURVE, negative_sampling_rate=0.1)
    graph = ServingGraph(network, schema).eval()
    path = tmp_path_factory.mktemp("exported") / "model.onnx"
    export_graph(ServingGraph(folded(network), schema), path)
    return Exported(graph, path, ort.InferenceSession(path, providers=["CPUExecutionProvider"]))


def request_features(schema: FeatureSchema) -> tuple[Feature, ...]:
    return (*schema.group(Group.USER), *schema.group(Group.CONTEXT))


def random_arrays(schema: FeatureSchema, num_candidates: int, num_behaviours: int, rng: np.random.Generator) -> Arrays:
    item_features = schema.group(Group.ITEM)
    candidates, behaviours = (random_indices(item_features, size, rng) for size in (num_candidates, num_behaviours))
    of_request = random_indices(request_features(schema), 1, rng)
    return {
        **{candidate_input(feature): candidates[feature.name] for feature in item_features},
        **{behaviour_input(feature): behaviours[feature.name] for feature in item_features},
        **{request_input(feature): of_request[feature.name] for feature in request_features(schema)},
    }


def by_torch(graph: ServingGraph, arrays: Arrays) -> list[np.ndarray]:
    with torch.inference_mode():
        return [output.numpy() for output in graph(*tensors(arrays).values())]


@settings(deadline=None, max_examples=25)
@given(num_candidates=st.integers(1, 40), num_behaviours=st.integers(0, 1) | st.integers(2, 60), seed=st.integers(0))
def test_onnx_matches_torch_within_1e_5(
    exported: Exported, num_candidates: int, num_behaviours: int, seed: int
) -> None:
    """For any number of candidates and behaviours, none included."""
    arrays = random_arrays(exported.graph.schema, num_candidates, num_behaviours, np.random.default_rng(seed))
    ctr, *weights = exported.session.run(None, arrays)
    expected_ctr, *expected_weights = by_torch(exported.graph, arrays)
    assert ctr.shape == (num_candidates,)
    np.testing.assert_allclose(ctr, expected_ctr, rtol=0, atol=1e-5)
    for found, expected in zip(weights, expected_weights, strict=True):
        assert found.shape == (num_candidates, num_behaviours)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_the_graph_has_the_inputs_and_outputs_of_the_contract(exported: Exported) -> None:
    inputs = {each.name: tuple(each.shape) for each in exported.session.get_inputs()}
    outputs = {each.name: tuple(each.shape) for each in exported.session.get_outputs()}
    has_unit = any(isinstance(module, LocalActivationUnit) for module in exported.graph.modules())
    assert inputs == graph_inputs(exported.graph.schema)
    assert {each.type for each in exported.session.get_inputs()} == {"tensor(int64)"}
    assert outputs == {CTR_OUTPUT: ("C",)} | ({WEIGHTS_OUTPUT: ("C", "T")} if has_unit else {})


def test_the_graph_is_the_network_for_one_user(exported: Exported) -> None:
    """The same candidates and behaviours as rows of one table of distinct items, in the trainer's layout."""
    rng, schema = np.random.default_rng(0), exported.graph.schema
    items = random_indices(schema.group(Group.ITEM), 4, rng)
    request = random_indices(request_features(schema), 1, rng)
    candidates, behaviours = np.array([3, 0, 3]), np.array([1, 1, 2, 3, 0])
    arrays = {candidate_input(feature): items[feature.name][candidates] for feature in schema.group(Group.ITEM)}
    arrays |= {behaviour_input(feature): items[feature.name][behaviours] for feature in schema.group(Group.ITEM)}
    arrays |= {request_input(feature): request[feature.name] for feature in request_features(schema)}
    inputs = NetworkInputs(
        items=tensors(items),
        candidates_UC=torch.from_numpy(candidates)[None],
        behaviours_UT=torch.from_numpy(behaviours)[None],
        is_real_UT=torch.ones(1, len(behaviours), dtype=torch.bool),
        request=tensors(request),
    )
    with torch.inference_mode():
        expected = torch.sigmoid(exported.graph.network(inputs).logit_UC[0]).numpy()
    np.testing.assert_allclose(exported.graph.score(arrays), expected, atol=1e-6)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0))
def test_the_served_order_is_the_networks_own(exported: Exported, seed: int) -> None:
    """Calibrated or not: wherever its logits differ by more than rounding, the graph's CTRs differ the same way.

    Logits beyond 6 are left out, as the CTRs of single precision lie too close to 0 and 1 there.
    """
    arrays = random_arrays(exported.graph.schema, 40, 5, np.random.default_rng(seed))
    network = exported.graph.network
    bare = network.network if isinstance(network, CalibratedNetwork) else network
    raw = logit(ServingGraph(copy.deepcopy(bare).double(), exported.graph.schema).score(arrays))
    (ctr, *_) = exported.session.run(None, arrays)
    first, second = np.triu_indices(40, 1)
    differ = (np.abs(raw[first] - raw[second]) > 1e-3) & (np.maximum(np.abs(raw[first]), np.abs(raw[second])) < 6.0)
    assume(differ.any())
    rises = (ctr[first] - ctr[second]) * np.sign(raw[first] - raw[second])
    assert (rises[differ] >= 0).all()


def logit(ctr: np.ndarray) -> np.ndarray:
    return np.log(ctr / (1 - ctr))


def test_the_graph_holds_no_path_of_the_machine(exported: Exported) -> None:
    content = exported.path.read_bytes()
    assert [file.name for file in exported.path.parent.iterdir()] == ["model.onnx"]
    for path in (REPOSITORY, Path(sys.prefix), Path.home(), exported.path.parent, Path(torch.__file__).parent):
        assert str(path).encode() not in content
    assert b".py" not in content
    assert b"site-packages" not in content


def test_steps_are_looped_over_in_the_graph_with_standard_operators_alone(exported: Exported) -> None:
    model = onnx.load(exported.path)
    num_loops = sum(node.op_type == "Loop" for node in model.graph.node)
    assert num_loops == (2 if isinstance(exported.graph.network, DIEN) else 0)
    assert [each.domain for each in model.opset_import] == [""]
    assert not model.functions


def test_parity_of_an_honest_graph_is_measured(exported: Exported) -> None:
    assert 0.0 <= check_parity(exported.graph, exported.path, max_behaviours=6) <= TOLERANCE


def tampered(exported: Exported, operator: str, operand: np.ndarray, out: Path) -> Path:
    """The graph with one more operator before its CTR output."""
    model = onnx.load(exported.path)
    (node,) = (node for node in model.graph.node if CTR_OUTPUT in node.output)
    node.output[0] = "true_ctr"
    model.graph.initializer.append(numpy_helper.from_array(operand, "operand"))
    model.graph.node.append(helper.make_node(operator, ["true_ctr", "operand"], [CTR_OUTPUT]))
    if operator == "Unsqueeze":
        del model.graph.output[0].type.tensor_type.shape.dim[:]
    onnx.save(model, out)
    return out


@pytest.mark.parametrize(
    ("factor", "message"),
    [(1.001, r"up to \d\.\d\de-0[345] apart; \de-05 is allowed"), (float("nan"), "up to nan apart")],
    ids=["slightly off", "not a number"],
)
def test_a_graph_with_other_ctrs_is_refused(exported: Exported, tmp_path: Path, factor: float, message: str) -> None:
    graph = tampered(exported, "Mul", np.array(factor, dtype=np.float32), tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=message):
        check_parity(exported.graph, graph, max_behaviours=6)


def test_a_graph_with_another_shape_is_refused(exported: Exported, tmp_path: Path) -> None:
    graph = tampered(exported, "Unsqueeze", np.array([1]), tmp_path / "model.onnx")
    with pytest.raises(ParityError, match=r"the graph gives \(1, 1\), the network \(1,\)"):
        check_parity(exported.graph, graph, max_behaviours=6)


def test_a_network_that_changed_since_its_export_is_refused(exported: Exported) -> None:
    changed = copy.deepcopy(exported.graph)
    with torch.no_grad():
        last_parameter = list(changed.network.parameters())[-1]
        last_parameter.add_(0.01)
    with pytest.raises(ParityError, match="with 1 candidates and 0 behaviours"):
        check_parity(changed, exported.path, max_behaviours=6)
