"""The stages of a DIN as ONNX graphs.

The stages before the scores are written operator by operator: they are short, their layout matters, and the exporter
takes seconds for each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.bundle.stages import (
    FLOAT_INPUTS,
    ITEMS,
    SCORES,
    WEIGHTS_BY_BEHAVIOUR,
    WEIGHTS_BY_CANDIDATE,
    output_of,
    output_shape,
    stage_file,
    stage_inputs,
)
from dinrank.model.bundle.vocabulary import PADDING_ID
from dinrank.model.layers.embedding import FeatureEmbedding
from dinrank.model.layers.interest import pool_interest
from dinrank.model.layers.mlp import PReLU
from dinrank.model.nets.calibrated import CalibratedNetwork, uncalibrated
from dinrank.model.nets.din import DIN
from dinrank.model.nets.registry import Network
from dinrank.training.export.fold import FoldedDice, FoldedUnit
from dinrank.training.export.graph_files import MIN_TABLE_BYTES, Graph
from dinrank.training.export.to_onnx import EXAMPLE_SIZES, OPSET, to_onnx

Inputs = Mapping[str, Sequence[str | int]]


# Legend: N = items, M = slots of a multi-valued feature, D = item width, d = width of one feature, H = first hidden
# width. Two sides of pairs: F = rows of the one that carries the first layer's matrices, E = rows of the other.
def stage_graphs(network: Network | CalibratedNetwork, schema: FeatureSchema) -> dict[str, Graph]:
    """Build every stage's graph by file name; none for a network whose weights, if any, depend on more than two items.

    Args:
        network: from `dinrank.training.export.fold.folded`.
    """
    din = uncalibrated(network)
    if not isinstance(din, DIN):
        return {}
    unit = din.unit
    assert isinstance(unit, FoldedUnit), "only folded networks are cut"
    width = din.item_embedding.dim
    inputs = stage_inputs(schema, width)
    graphs = {
        ITEMS: _item_stage(din.item_embedding, inputs[ITEMS], width),
        WEIGHTS_BY_CANDIDATE: weight_stage(unit, WEIGHTS_BY_CANDIDATE, inputs[WEIGHTS_BY_CANDIDATE]),
        WEIGHTS_BY_BEHAVIOUR: weight_stage(unit, WEIGHTS_BY_BEHAVIOUR, inputs[WEIGHTS_BY_BEHAVIOUR]),
        SCORES: to_onnx(ScoreStage(network, schema), _example(inputs[SCORES]), inputs[SCORES], [output_of(SCORES)]),
    }
    return {stage_file(stage): graph for stage, graph in graphs.items()}


def _item_stage(embedding: FeatureEmbedding, inputs: Inputs, width: int) -> Graph:
    graph = _Builder()
    vectors = [
        _embedded(graph, feature, graph.table(_table(embedding, feature)), indices)
        for feature, indices in zip(embedding.features, inputs, strict=True)
    ]
    graph.add("Concat", vectors, output=output_of(ITEMS), axis=1)
    return graph.build(ITEMS, inputs, width)


def _table(embedding: FeatureEmbedding, feature: Feature) -> Tensor:
    table = embedding.tables[feature.name]
    assert isinstance(table, nn.Embedding)
    return table.weight


def _embedded(graph: "_Builder", feature: Feature, table: str, indices: str) -> str:
    """[N, d]: see `FeatureEmbedding`."""
    vectors = graph.add("Gather", [table, indices])
    if feature.kind is not Kind.MULTI:
        return vectors
    axis = graph.constant(np.array([1]))
    is_padding = graph.add("Equal", [indices, graph.constant(np.array(PADDING_ID))])
    is_value = graph.add("Cast", [graph.add("Not", [is_padding])], to=TensorProto.FLOAT)
    count_N1 = graph.add("ReduceSum", [is_value, axis], keepdims=1)
    at_least_one = graph.add("Max", [count_N1, graph.constant(np.array(1.0, dtype=np.float32))])
    return graph.add("Div", [graph.add("ReduceSum", [vectors, axis], keepdims=0), at_least_one])


def weight_stage(unit: FoldedUnit, stage: str, inputs: Inputs) -> Graph:
    """Raw weights of all pairs, by matrix products alone.

    For a fixed vector f of one side the unit's first layer is linear in the vectors of the other: its matrix is
    W_p·diag(f) + W_other, and f's own part is its bias. So one product gives the first layer of all pairs, and f∘k is
    never written; the side with fewer rows should carry the matrices, F·H·D floats.

    Every layer is [units, pairs]: Dice's terms are one number per long row, and biases are part of the products.
    """
    few_HD, many_HD = unit.query_HD, unit.key_HD
    if stage == WEIGHTS_BY_BEHAVIOUR:
        few_HD, many_HD = many_HD, few_HD
    graph = _Builder()
    hidden = unit.bias_H.shape[0]
    scaled_HFD = graph.add("Mul", ["few", graph.constant(unit.product_HD[:, None])])
    matrix_HFD = graph.add("Add", [scaled_HFD, graph.constant(many_HD[:, None])])
    matrix = graph.add("Reshape", [matrix_HFD, graph.constant(np.array([-1, unit.dim]))])
    bias_HF = graph.add("Gemm", [graph.constant(few_HD), "few", graph.constant(unit.bias_H[:, None])], transB=1)
    bias = graph.add("Reshape", [bias_HF, graph.constant(np.array([-1, 1]))])
    first = graph.add("Gemm", [matrix, "many", bias])
    x = _activated(graph, unit.activation, graph.add("Reshape", [first, graph.constant(np.array([hidden, -1]))]))
    for layer in unit.rest.layers:
        if isinstance(layer, nn.Linear):
            x = graph.add("Gemm", [graph.constant(layer.weight), x, graph.constant(layer.bias[:, None])])
        else:
            x = _activated(graph, layer, x)
    sizes = [graph.add("Shape", ["few"], start=0, end=1), graph.add("Shape", ["many"], start=1, end=2)]
    graph.add("Reshape", [x, graph.add("Concat", sizes, axis=0)], output=output_of(stage))
    return graph.build(stage, inputs, unit.dim)


def _activated(graph: "_Builder", activation: nn.Module, x: str) -> str:
    """An activation of [units, pairs]."""
    if isinstance(activation, FoldedDice):
        gate = graph.add("Add", [graph.add("Sigmoid", [x]), graph.constant(activation.offset_H[:, None])])
        return graph.add("Mul", [graph.add("Add", [x, graph.constant(activation.shift_H[:, None])]), gate])
    if isinstance(activation, PReLU):
        return graph.add("PRelu", [x, graph.constant(activation.alpha[:, None])])
    assert isinstance(activation, nn.ReLU)
    return graph.add("Relu", [x])


class _Builder:
    """Collects operators and constants and gives each result a name."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[TensorProto] = []
        self._tables: dict[str, NDArray[Any]] = {}

    def add(self, operator: str, operands: Sequence[str], *, output: str | None = None, **attributes: Any) -> str:
        output = output or f"{operator.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, operands, [output], **attributes))
        return output

    def constant(self, value: Tensor | NDArray[Any]) -> str:
        name = f"constant_{len(self._constants)}"
        array = value.detach().numpy() if isinstance(value, Tensor) else value
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def table(self, value: Tensor) -> str:
        """Add a constant of any size: a large one stays out of the graph's message."""
        array = value.detach().numpy()
        if array.nbytes < MIN_TABLE_BYTES:
            return self.constant(array)
        name = f"table_{len(self._tables)}"
        self._tables[name] = array
        self._constants.append(
            TensorProto(
                name=name,
                dims=array.shape,
                data_type=helper.np_dtype_to_tensor_dtype(array.dtype),
                data_location=TensorProto.EXTERNAL,
            )
        )
        return name

    def build(self, stage: str, inputs: Inputs, width: int) -> Graph:
        described = [
            helper.make_tensor_value_info(
                name, TensorProto.FLOAT if name in FLOAT_INPUTS else TensorProto.INT64, list(shape)
            )
            for name, shape in inputs.items()
        ]
        shape = list(output_shape(stage, width))
        result = helper.make_tensor_value_info(output_of(stage), TensorProto.FLOAT, shape)
        made = helper.make_graph(self._nodes, stage, described, [result], self._constants)
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=_IR_VERSION)
        return Graph(model, self._tables)


_IR_VERSION = 10  # the exporter's for this opset


def _example(inputs: Inputs) -> list[Tensor]:
    """Return zeros, as every table has an index 0."""
    return [
        torch.zeros(
            [axis if isinstance(axis, int) else EXAMPLE_SIZES[axis] for axis in shape],
            dtype=torch.float32 if name in FLOAT_INPUTS else torch.int64,
        )
        for name, shape in inputs.items()
    ]


# Legend: C = candidates, T = behaviours, D = item width.
class ScoreStage(nn.Module):
    """CTRs [C] from vectors, raw activation weights and the indices of user and context.

    Args:
        network: a DIN, calibrated or not.
    """

    def __init__(self, network: Network | CalibratedNetwork, schema: FeatureSchema) -> None:
        super().__init__()
        self.network = network
        self.features = (*schema.group(Group.USER), *schema.group(Group.CONTEXT))

    def forward(self, candidates_CD: Tensor, behaviours_TD: Tensor, weights_CT: Tensor, *arrays: Tensor) -> Tensor:
        din = uncalibrated(self.network)
        assert isinstance(din, DIN)
        request = {feature.name: array for feature, array in zip(self.features, arrays, strict=True)}
        sum_UCD = pool_interest(weights_CT[None], behaviours_TD[None])
        logit_UC = din.logit(candidates_CD[None], sum_UCD, behaviours_TD[None, :, 0], None, request)
        if isinstance(self.network, CalibratedNetwork):
            logit_UC = self.network.calibrate(logit_UC)
        return torch.sigmoid(logit_UC[0])
