"""ONNX graphs on disk: small files, and one external data file with all their tables.

A protobuf message is limited to 2 GB, and every process reads it into its own memory. A table in a file of its own may
have any size, and ONNX Runtime memory-maps it: all workers of a machine share one copy.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray

from dinrank.model.bundle.files import GRAPH_DATA_FILE

MIN_TABLE_BYTES = 1 << 16  # smaller tensors stay inside their graph

_ALIGNMENT = 1 << 16  # a multiple of every machine's page size, as memory maps begin on a page


@dataclass(frozen=True, slots=True)
class Graph:
    """A graph with its large initialisers detached.

    Attributes:
        model: without their values.
        tables: their values by name. They are the exporter's own arrays, mostly the network's parameters: no copies.
    """

    model: onnx.ModelProto
    tables: Mapping[str, NDArray[Any]]


def detach_tables(model: ir.Model, *, min_bytes: int = MIN_TABLE_BYTES) -> Graph:
    """Detach the large initialisers of a graph from the exporter (`program.model`).

    A ModelProto becomes an `ir.Model` by `onnx_ir.from_proto`, without copies either.
    """
    large = {
        name: value
        for name, value in model.graph.initializers.items()
        if value.const_value is not None and value.const_value.nbytes >= min_bytes
    }
    tensors = {name: value.const_value for name, value in large.items()}
    try:
        for name, value in large.items():
            value.const_value = _absent(name, tensors[name])
        proto = ir.to_proto(model)
    finally:
        for name, value in large.items():
            value.const_value = tensors[name]
    return Graph(proto, {name: tensor.numpy() for name, tensor in tensors.items() if tensor is not None})


def save_graphs(directory: Path, graphs: Mapping[str, Graph]) -> None:
    """Write each graph to `directory` under its name and their tables to one file, equal ones once.

    Equal graphs give equal files. Without tables there is no second file. The graphs get references to their tables.

    Raises:
        FileExistsError: the directory has such a file; all graphs that share one are saved together.
    """
    placed: dict[bytes, tuple[int, memoryview]] = {}
    end = 0
    for name, graph in graphs.items():
        for tensor in graph.model.graph.initializer:
            if tensor.name in graph.tables:
                octets = _octets(graph.tables[tensor.name])
                digest = hashlib.sha256(octets).digest()
                if digest not in placed:
                    placed[digest] = (-(-end // _ALIGNMENT) * _ALIGNMENT, octets)
                    end = placed[digest][0] + len(octets)
                _refer(tensor, offset=placed[digest][0], length=len(octets))
        (directory / name).write_bytes(graph.model.SerializeToString(deterministic=True))
    if placed:
        with (directory / GRAPH_DATA_FILE).open("xb") as file:
            for offset, octets in placed.values():
                file.seek(offset)
                file.write(octets)


def _absent(name: str, tensor: ir.TensorProtocol | None) -> ir.ExternalTensor:
    """Return a tensor's type and shape, its values being stored elsewhere."""
    assert tensor is not None
    return ir.ExternalTensor(
        GRAPH_DATA_FILE,
        offset=0,
        length=tensor.nbytes,
        dtype=tensor.dtype,
        shape=ir.Shape(tensor.shape.numpy()),
        name=name,
    )


def _octets(table: NDArray[Any]) -> memoryview:
    """Return the table's bytes in ONNX's order: row by row, little-endian."""
    ordered = np.ascontiguousarray(table, dtype=table.dtype.newbyteorder("<"))
    return ordered.reshape(-1).view(np.uint8).data


def _refer(tensor: onnx.TensorProto, *, offset: int, length: int) -> None:
    del tensor.external_data[:]
    for key, value in (("location", GRAPH_DATA_FILE), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    tensor.data_location = onnx.TensorProto.EXTERNAL
