"""Export a torch module to an ONNX graph with dynamic sizes."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from dinrank.training.export.graph_files import Graph, detach_tables
from dinrank.training.export.loops import translations

OPSET = 20

# Dynamic axes by name: their least size, and one to trace with, which is neither 0 nor 1, as the exporter treats
# those as constants.
LEAST_SIZES = {"C": 1, "T": 0, "N": 1, "F": 1, "E": 1}

EXAMPLE_SIZES = {"C": 3, "T": 5, "N": 4, "F": 3, "E": 6}


def to_onnx(
    module: nn.Module,
    example: Sequence[Tensor],
    inputs: Mapping[str, Sequence[str | int]],
    outputs: Sequence[str],
) -> Graph:
    """Trace the module.

    Args:
        example: tensors of `EXAMPLE_SIZES`, one per input.
        inputs: every input's name and shape, in the order of the module's arguments; letters are dynamic axes.
    """
    letters = {axis for shape in inputs.values() for axis in shape if isinstance(axis, str)}
    dimensions = {letter: torch.export.Dim(letter, min=LEAST_SIZES[letter]) for letter in sorted(letters)}
    free = tuple(
        {place: dimensions[axis] for place, axis in enumerate(shape) if isinstance(axis, str)}
        for shape in inputs.values()
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's internal deprecations do not concern our graph
        program = torch.onnx.export(
            _Flat(module).eval(),
            tuple(example),
            dynamo=True,
            opset_version=OPSET,
            custom_translation_table=translations(),
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_shapes={"arrays": free},
            verbose=False,
        )
    assert program is not None
    graph = detach_tables(program.model)
    _strip_traces(graph.model)
    return graph


class _Flat(nn.Module):
    """Gives every module the same signature, which `dynamic_shapes` names."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *arrays: Tensor) -> Any:
        return self.module(*arrays)


def _strip_traces(model: onnx.ModelProto) -> None:
    """Drop the exporter's stack traces: they name this machine's paths and make equal graphs differ."""
    _strip_graph(model.graph)
    del model.metadata_props[:]


def _strip_graph(graph: onnx.GraphProto) -> None:
    """Strip a graph and the bodies of its loops."""
    for node in graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                _strip_graph(attribute.g)
    for value in (*graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del value.metadata_props[:]
    del graph.metadata_props[:]
