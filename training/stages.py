"""Exported graphs: run with ONNX Runtime, and stages checked against the network."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from model.bundle.golden import GoldenAnswer
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


def check_stages(stages: StagedGraph, requests: Sequence[EncodedRequest], answers: Sequence[GoldenAnswer]) -> float:
    """The largest difference between the stages' CTRs and the answers.

    Args:
        requests: the answers' own.

    Raises:
        ParityError: a difference exceeds the answer's tolerance.
    """
    return _check(lambda request: stages.answer(request).ctr_C, requests, answers, "in stages, in request")


def check_whole(run: RunStage, requests: Sequence[EncodedRequest], answers: Sequence[GoldenAnswer]) -> float:
    """The same for the CTRs of the whole graph, as the service will compare them."""
    return _check(lambda request: run(request.inputs), requests, answers, "in request")


def _check(
    score: Callable[[EncodedRequest], NDArray[np.floating]],
    requests: Sequence[EncodedRequest],
    answers: Sequence[GoldenAnswer],
    circumstance: str,
) -> float:
    return max(
        largest_difference(
            np.asarray(answer.ctr), score(request), circumstance=f"{circumstance} {number},", allowed=answer.allowed
        )
        for number, (request, answer) in enumerate(zip(requests, answers, strict=True))
    )
