"""Export for the alternatives: the graph with a row per candidate, and the index of raw values, as plain files."""

import json
import warnings
from pathlib import Path

import onnx
import torch
from torch import nn

from bench.serving.dataset import NUM_HOURS, item_ids, segment_of
from bench.serving.repeated import INPUTS, RepeatedDIN
from bench.serving.services.features import Index
from bench.serving.setting import NUM_SEGMENTS, TOWER, UNIT
from dinrank.model.bundle.encoding import Encoder
from dinrank.model.bundle.vocabulary import UNKNOWN_ID

WEIGHTS_FILE, SIZES_FILE, GRAPH_FILE, INDEX_FILE = "din.pt", "sizes.json", "din.onnx", "index.json"
OPSET = 20
_EXAMPLE_SIZES = {"N": 3, "T": 5}  # neither 0 nor 1, which the exporter treats as constants


def write_rows_network(directory: Path, network: RepeatedDIN, encoder: Encoder) -> None:
    """Write weights for PyTorch, the graph for ONNX Runtime, and the index, into the new `directory`."""
    directory.mkdir(parents=True)
    torch.save(network.state_dict(), directory / WEIGHTS_FILE)
    sizes = {
        "table_sizes": [len(table.weight) for table in (network.item, network.category, network.segment, network.hour)],
        "embedding_dim": network.item.embedding_dim,
        "unit": UNIT,
        "tower": TOWER,
    }
    (directory / SIZES_FILE).write_text(json.dumps(sizes), encoding="utf-8")
    (directory / INDEX_FILE).write_text(json.dumps(_index(encoder)), encoding="utf-8")
    export_rows_graph(network, directory / GRAPH_FILE)


def _index(encoder: Encoder) -> Index:
    encoded = encoder.items(item_ids())
    pairs = zip(encoded["item_id"].tolist(), encoded["category"].tolist(), strict=True)
    segments = {segment_of(user) for user in range(NUM_SEGMENTS)}
    hours = {str(hour) for hour in range(NUM_HOURS)}
    return {
        "items": dict(zip(item_ids(), pairs, strict=True)),
        "segments": {name: int(encoder.users({"segment": name})["segment"][0]) for name in segments},
        "hours": {name: int(encoder.context({"hour": name})["hour"][0]) for name in hours},
        "unknown": UNKNOWN_ID,
    }


# Legend: N = rows, T = behaviours.
def export_rows_graph(network: nn.Module, path: Path) -> None:
    """Write the ONNX graph of a network that takes `INPUTS`, with dynamic N and T, as torch's exporter makes it."""
    axes = {axis: torch.export.Dim(axis, min=2) for axis in "NT"}
    shapes = [name.rpartition("_")[2] for name in INPUTS]
    example = tuple(torch.ones([_EXAMPLE_SIZES[axis] for axis in shape], dtype=torch.int64) for shape in shapes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's internal deprecations
        program = torch.onnx.export(
            network.eval(),
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=list(INPUTS),
            output_names=["ctr_N"],
            dynamic_shapes=tuple({place: axes[axis] for place, axis in enumerate(shape)} for shape in shapes),
            verbose=False,
        )
    assert program is not None
    onnx.save(program.model_proto, path)
