"""Graphs on disk with their tables beside them: what ONNX Runtime computes from them, and what lies where."""

import hashlib
import mmap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from dinrank.model.bundle.files import GRAPH_DATA_FILE, GRAPH_FILE
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind
from dinrank.model.nets.names import NetworkName
from dinrank.training.export.bundle import ServingGraph, check_parity, export_graph
from dinrank.training.export.graph_files import MIN_TABLE_BYTES, Graph, detach_tables, save_graphs
from tests.fixtures.networks import SMALL, random_network

ROWS, WIDTH = 5_000, 4

TABLE = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)

OTHER = np.random.default_rng(1).standard_normal((ROWS + 1, WIDTH)).astype(np.float64)

QUERY = np.array([[0, ROWS - 1], [7, 7]])


def gathering(tables: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """A graph that looks the same rows up in each table, and scales the first by a small initialiser."""
    nodes = [helper.make_node("Gather", [name, "rows"], [f"rows_of_{name}"]) for name in tables]
    nodes.append(helper.make_node("Mul", [f"rows_of_{next(iter(tables))}", "scale"], ["scaled"]))
    scale = np.array(2.0, dtype=next(iter(tables.values())).dtype)
    arrays = {**tables, "scale": scale}
    types = {name: helper.np_dtype_to_tensor_dtype(array.dtype) for name, array in tables.items()}
    outputs = [helper.make_tensor_value_info(f"rows_of_{name}", type_, None) for name, type_ in types.items()]
    outputs.append(helper.make_tensor_value_info("scaled", next(iter(types.values())), None))
    graph = helper.make_graph(
        nodes,
        "gathering",
        [helper.make_tensor_value_info("rows", TensorProto.INT64, ["N", 2])],
        outputs,
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def detached(tables: Mapping[str, np.ndarray]) -> Graph:
    return detach_tables(ir.from_proto(gathering(tables)))


def run(model: Path | bytes) -> list[np.ndarray]:
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"rows": QUERY})


def references(path: Path) -> dict[str, dict[str, str]]:
    """Where each initialiser that is not in the graph lies."""
    model = onnx.load(path, load_external_data=False)
    return {
        tensor.name: {entry.key: entry.value for entry in tensor.external_data}
        for tensor in model.graph.initializer
        if tensor.data_location == TensorProto.EXTERNAL
    }


def test_graphs_compute_the_same_with_their_tables_in_a_file(tmp_path: Path) -> None:
    graphs = {"model.onnx": {"a": TABLE, "b": OTHER}, "unit.onnx": {"c": OTHER}}
    save_graphs(tmp_path, {name: detached(tables) for name, tables in graphs.items()})
    for name, tables in graphs.items():
        for found, expected in zip(run(tmp_path / name), run(gathering(tables).SerializeToString()), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_equal_tables_of_several_graphs_lie_in_the_file_once(tmp_path: Path) -> None:
    save_graphs(
        tmp_path, {"model.onnx": detached({"a": TABLE, "b": OTHER}), "unit.onnx": detached({"c": OTHER.copy()})}
    )
    of_model, of_unit = references(tmp_path / "model.onnx"), references(tmp_path / "unit.onnx")
    assert of_unit["c"] == of_model["b"] != of_model["a"]
    assert {reference["location"] for reference in of_model.values()} == {GRAPH_DATA_FILE}
    content = (tmp_path / GRAPH_DATA_FILE).read_bytes()
    for name, table in (("a", TABLE), ("b", OTHER)):
        start, length = int(of_model[name]["offset"]), int(of_model[name]["length"])
        assert content[start : start + length] == table.tobytes()
        assert start % mmap.ALLOCATIONGRANULARITY == 0
    assert len(content) < TABLE.nbytes + OTHER.nbytes + 65_536


def test_graphs_hold_what_is_small_and_nothing_that_is_large(tmp_path: Path) -> None:
    least = np.zeros(MIN_TABLE_BYTES, dtype=np.uint8)
    save_graphs(tmp_path, {"model.onnx": detached({"a": least, "b": least[1:]})})
    assert references(tmp_path / "model.onnx").keys() == {"a"}
    assert len(least) - 1 < (tmp_path / "model.onnx").stat().st_size < len(least) + 1_000


def test_without_tables_there_is_no_second_file(tmp_path: Path) -> None:
    save_graphs(tmp_path, {"model.onnx": detached({"a": TABLE[:10]})})
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_equal_graphs_give_equal_files(tmp_path: Path) -> None:
    digests = []
    for attempt in ("first", "again"):
        (tmp_path / attempt).mkdir()
        save_graphs(tmp_path / attempt, {"model.onnx": detached({"a": TABLE, "b": OTHER})})
        paths = sorted((tmp_path / attempt).iterdir())
        digests.append([hashlib.sha256(path.read_bytes()).hexdigest() for path in paths])
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_a_file_of_tables_is_never_overwritten_or_added_to(tmp_path: Path) -> None:
    save_graphs(tmp_path, {"model.onnx": detached({"a": TABLE})})
    with pytest.raises(FileExistsError):
        save_graphs(tmp_path, {"unit.onnx": detached({"a": OTHER})})


def test_detaching_leaves_the_graph_as_it_was() -> None:
    model = ir.from_proto(gathering({"a": TABLE, "b": OTHER}))
    graph = detach_tables(model)
    assert graph.tables.keys() == {"a", "b"}
    assert graph.model.ByteSize() < 1_500
    for name, table in (("a", TABLE), ("b", OTHER)):
        np.testing.assert_array_equal(model.graph.initializers[name].const_value.numpy(), table)


def test_a_networks_tables_are_its_own_memory_until_they_are_written(tmp_path: Path) -> None:
    """Exported, a large network agrees with its graph, and the file holds the table's bytes."""
    schema = FeatureSchema((Feature("item_id", Group.ITEM, Kind.SINGLE, num_indices=30_000),), max_behaviours=4)
    network = random_network(NetworkName.BASE, SMALL, schema=schema, std=0.2)
    graph = ServingGraph(network, schema).eval()
    export_graph(graph, tmp_path / GRAPH_FILE)
    assert check_parity(graph, tmp_path / GRAPH_FILE, max_behaviours=4) < 1e-5
    (reference,) = references(tmp_path / GRAPH_FILE).values()
    (table,) = (module.weight for module in network.modules() if isinstance(module, torch.nn.Embedding))
    start = int(reference["offset"])
    content = (tmp_path / GRAPH_DATA_FILE).read_bytes()[start : start + int(reference["length"])]
    assert content == table.detach().numpy().tobytes()
