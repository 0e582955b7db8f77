"""Export: torch to ONNX, the parity check, then a bundle."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dinrank.model.bundle.activations import TABLE_FILES, ActivationTable
from dinrank.model.bundle.encoding import Encoder, Indices
from dinrank.model.bundle.files import GRAPH_FILE
from dinrank.model.bundle.golden import TOLERANCE, GoldenAnswer
from dinrank.model.bundle.graph import (
    CTR_OUTPUT,
    WEIGHTS_OUTPUT,
    behaviour_input,
    candidate_input,
    graph_inputs,
    request_input,
)
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group
from dinrank.model.bundle.stages import StagedGraph
from dinrank.model.bundle.staging import scratch_directory
from dinrank.model.bundle.titles import Titles
from dinrank.model.bundle.writer import Sign, write_bundle
from dinrank.model.layers.inputs import NetworkInputs
from dinrank.model.nets.calibrated import CalibratedNetwork, describe_calibration, uncalibrated
from dinrank.model.nets.names import NetworkName
from dinrank.model.nets.registry import Network
from dinrank.training.errors import TableError
from dinrank.training.export.check import (
    check_stages,
    check_whole,
    ctr_tolerance,
    largest_difference,
    open_graph,
    open_stages,
)
from dinrank.training.export.fold import folded
from dinrank.training.export.graph_files import Graph, save_graphs
from dinrank.training.export.stages import stage_graphs
from dinrank.training.export.to_onnx import EXAMPLE_SIZES, to_onnx

MakeTable = Callable[[Path, StagedGraph], ActivationTable]


# Legend: C = candidates, T = behaviours.
class ServingGraph(nn.Module):
    """A trained network behind the inputs and outputs of `dinrank.model.bundle.graph`: one user, exact history."""

    def __init__(self, network: Network | CalibratedNetwork, schema: FeatureSchema) -> None:
        super().__init__()
        self.network = network
        self.schema = schema

    def forward(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """ctr [C] and, in networks with an activation unit, raw activation weights [C, T]."""
        output = self.network(self._network_inputs(*arrays))
        ctr_C = torch.sigmoid(output.logit_UC[0])
        return (ctr_C,) if output.weights_UCT is None else (ctr_C, output.weights_UCT[0])

    def tolerance(self, *arrays: Tensor) -> NDArray[np.float64]:
        """Return the largest allowed error of each of these CTRs [C] in an exported graph."""
        self.eval()
        with torch.inference_mode():
            logit_C = uncalibrated(self.network)(self._network_inputs(*arrays)).logit_UC[0]
        return ctr_tolerance(self.network, logit_C)

    def _network_inputs(self, *arrays: Tensor) -> NetworkInputs:
        inputs = dict(zip(graph_inputs(self.schema), arrays, strict=True))
        item_features = self.schema.group(Group.ITEM)
        first_candidate, first_behaviour = (inputs[of(item_features[0])] for of in (candidate_input, behaviour_input))
        num_candidates, num_behaviours = first_candidate.shape[0], first_behaviour.shape[0]
        return NetworkInputs(
            items={
                feature.name: torch.cat([inputs[candidate_input(feature)], inputs[behaviour_input(feature)]])
                for feature in item_features
            },
            candidates_UC=torch.arange(num_candidates)[None],
            behaviours_UT=(torch.arange(num_behaviours) + num_candidates)[None],
            is_real_UT=None,
            request={
                feature.name: inputs[request_input(feature)]
                for feature in (*self.schema.group(Group.USER), *self.schema.group(Group.CONTEXT))
            },
        )

    def golden_answer(self, request: ScoringRequest, arrays: Mapping[str, Indices]) -> GoldenAnswer:
        """The network's CTRs for a request and its `inputs`, with tolerances where the calibration is steep."""
        tensors = [torch.from_numpy(arrays[name]) for name in graph_inputs(self.schema)]
        allowed_C = self.tolerance(*tensors)
        is_steep = not np.all(allowed_C <= TOLERANCE)
        return GoldenAnswer(request, self.score(arrays).tolist(), tuple(allowed_C.tolist()) if is_steep else ())

    def score(self, arrays: Mapping[str, Indices]) -> NDArray[np.float32]:
        """The network's own CTRs [C] for a request's `inputs`."""
        return self._run(arrays)[0]

    def activation_weights(self, arrays: Mapping[str, Indices]) -> NDArray[np.float32] | None:
        """The raw weights [C, T] for a request's `inputs`; None without an activation unit."""
        outputs = self._run(arrays)
        return outputs[1] if len(outputs) == 2 else None

    def _run(self, arrays: Mapping[str, Indices]) -> list[NDArray[np.float32]]:
        self.eval()
        with torch.inference_mode():
            outputs = self(*(torch.from_numpy(arrays[name]) for name in graph_inputs(self.schema)))
        return [output.numpy() for output in outputs]


def export_bundle(
    out: Path,
    *,
    network: Network | CalibratedNetwork,
    name: NetworkName,
    encoder: Encoder,
    golden_requests: list[ScoringRequest],
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    make_table: MakeTable | None = None,
    titles: Titles | None = None,
    sign: Sign | None = None,
) -> Manifest:
    """Export the network folded, check its graphs against it, record golden answers and write the bundle.

    Args:
        make_table: writes an activation table's files under a folder; only for networks that are cut into stages.
        titles: of the catalogue's items, for people.
        sign: signs the manifest; None for an unsigned bundle.

    Raises:
        TableError: a table for a network that cannot use one.
        ParityError: a graph differs from the network by more than the tolerance.
        FileExistsError: `out` exists.
    """
    graph = ServingGraph(network, encoder.schema).eval()
    requests = [encode_request(encoder, request) for request in golden_requests]
    answers = [
        graph.golden_answer(golden, request.inputs) for golden, request in zip(golden_requests, requests, strict=True)
    ]
    served = folded(network)
    stages = stage_graphs(served, encoder.schema)
    with scratch_directory("export") as directory:
        save_graphs(directory, {GRAPH_FILE: _traced(ServingGraph(served, encoder.schema)), **stages})
        check_parity(graph, directory / GRAPH_FILE, max_behaviours=encoder.schema.max_behaviours)
        check_whole(open_graph(directory / GRAPH_FILE), requests, answers)
        if stages:
            staged = StagedGraph(encoder.schema, open_stages(directory))
            check_stages(staged, requests, answers)
        more_files = {}
        if make_table is not None:
            if not stages:
                raise TableError(f"{name} has no weights that depend on two items alone; only din has a table")
            tables = directory / "tables"
            check_stages(staged.with_table(make_table(tables, staged)), requests, answers)
            more_files = {file: tables / file for file in TABLE_FILES}
        return write_bundle(
            out,
            model_name=name.value,
            encoder=encoder,
            graph_files=sorted(path for path in directory.iterdir() if path.is_file()),
            golden=answers,
            training=training,
            metrics=metrics,
            calibration=describe_calibration(network),
            more_files=more_files,
            titles=titles,
            sign=sign,
        )


def export_graph(graph: ServingGraph, path: Path) -> None:
    """Write the ONNX graph with dynamic C and T, and beside it the file of its tables."""
    save_graphs(path.parent, {path.name: _traced(graph)})


def _traced(graph: ServingGraph) -> Graph:
    example = _example(graph.schema, EXAMPLE_SIZES, np.random.default_rng(0))
    outputs = [CTR_OUTPUT, WEIGHTS_OUTPUT][: len(graph(*example))]
    return to_onnx(graph, example, graph_inputs(graph.schema), outputs)


def check_parity(graph: ServingGraph, path: Path, *, max_behaviours: int) -> float:
    """Return the largest difference between graph and network over random inputs of many sizes, T = 0 and 1 included.

    Raises:
        ParityError: it exceeds the tolerance.
    """
    rng = np.random.default_rng(0)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for num_candidates in (1, 2, 50):
        for num_behaviours in (0, 1, 7, max_behaviours):
            example = _example(graph.schema, {"C": num_candidates, "T": num_behaviours}, rng)
            with torch.inference_mode():
                expected = graph(*example)
            feed = {name: array.numpy() for name, array in zip(graph_inputs(graph.schema), example, strict=True)}
            circumstance = f"with {num_candidates} candidates and {num_behaviours} behaviours"
            allowed: list[float | NDArray[np.float64]] = [graph.tolerance(*example), TOLERANCE]  # CTRs, weights
            for wanted, found, each in zip(expected, session.run(None, feed), allowed, strict=False):
                difference = largest_difference(wanted.numpy(), found, circumstance=circumstance, allowed=each)
                worst = max(worst, difference)
    return worst


def _example(schema: FeatureSchema, sizes: Mapping[str, int], rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Random indices in every input's shape."""
    by_input: dict[str, Feature] = {}
    for feature in schema.features:
        names = (candidate_input, behaviour_input) if feature.group is Group.ITEM else (request_input,)
        by_input |= {name(feature): feature for name in names}
    return tuple(
        torch.from_numpy(rng.integers(0, by_input[name].num_indices, size=[_size(axis, sizes) for axis in shape]))
        for name, shape in graph_inputs(schema).items()
    )


def _size(axis: str | int, sizes: Mapping[str, int]) -> int:
    return axis if isinstance(axis, int) else sizes[axis]
