"""Exported graphs: run with ONNX Runtime, and stages checked against the network."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.bundle.request import EncodedRequest
from model.bundle.stages import (
    STAGES,
    RunStage,
    StagedGraph,
    stage_file,
)
from training.parity import largest_difference


def open_stages(directory: Path) -> dict[str, RunStage]:
    """The exported stages in a folder, for a `StagedGraph`, each run on one thread."""
    return {name: open_graph(directory / stage_file(name)) for name in STAGES}


def open_graph(path: Path) -> RunStage:
    """A graph, run on one thread, from its inputs to the first of its outputs; of `model.onnx` these are the CTRs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = session.run(None, dict(inputs))[0]
        return output

    return run


def check_stages(
    stages: StagedGraph, requests: Sequence[EncodedRequest], expected: Sequence[NDArray[np.floating]]
) -> float:
    """The largest difference between the stages' CTRs and the expected ones of each request.

    Raises:
        ParityError: it exceeds the tolerance.
    """
    return max(
        largest_difference(wanted_C, stages.answer(request).ctr_C, circumstance=f"in stages, in request {number},")
        for number, (request, wanted_C) in enumerate(zip(requests, expected, strict=True))
    )
