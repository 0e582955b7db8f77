"""Parity checks: run exported graphs and stages with ONNX Runtime and compare them with the network."""

import copy
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from dinrank.model.bundle.golden import MAX_TOLERANCE, TOLERANCE, GoldenAnswer
from dinrank.model.bundle.request import EncodedRequest
from dinrank.model.bundle.stages import STAGES, RunStage, StagedGraph, stage_file
from dinrank.model.layers.calibration import NoCalibration
from dinrank.model.nets.calibrated import CalibratedNetwork
from dinrank.model.nets.registry import Network
from dinrank.training.errors import ParityError


def open_stages(directory: Path) -> dict[str, RunStage]:
    """The exported stages in a folder, for a `StagedGraph`, each run on one thread."""
    return {name: open_graph(directory / stage_file(name)) for name in STAGES}


def open_graph(path: Path) -> RunStage:
    """Open a graph on one thread, from its inputs to its first output; for `model.onnx` the CTRs."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
        output: NDArray[np.float32] = session.run(None, dict(inputs))[0]
        return output

    return run


def check_stages(stages: StagedGraph, requests: Sequence[EncodedRequest], answers: Sequence[GoldenAnswer]) -> float:
    """Return the largest difference between the stages' CTRs and the answers.

    Args:
        requests: the answers' own.

    Raises:
        ParityError: a difference exceeds the answer's tolerance.
    """
    return _check(lambda request: stages.answer(request).ctr_C, requests, answers, "in stages, in request")


def check_whole(run: RunStage, requests: Sequence[EncodedRequest], answers: Sequence[GoldenAnswer]) -> float:
    """Compare the CTRs of the whole graph in the same way, as the service does."""
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


LOGIT_TOLERANCE = 4 * TOLERANCE  # of a network's own logit, relative above 1: no CTR moves by more than a quarter of it


# Legend: C = candidates.
def ctr_tolerance(network: Network | CalibratedNetwork, logit_C: Tensor) -> NDArray[np.float64]:
    """Return the largest allowed difference between the CTRs of graph and network, per candidate.

    The network's own logit must agree within `LOGIT_TOLERANCE`; a CTR may be anything that the calibration makes of
    logits that close. A steep calibration amplifies rounding errors without any fault of the graph. The calibration is
    evaluated at both ends of the interval, as an isotonic curve may bend within it. Without a calibration, or with one
    that is not steep, this is `TOLERANCE`; it never exceeds `MAX_TOLERANCE`.

    Args:
        logit_C: the network's own, before the calibration.
    """
    if isinstance(network, CalibratedNetwork):
        exact = copy.deepcopy(network.calibration).double()
        served = CalibratedNetwork(network.network, exact, negative_sampling_rate=network.negative_sampling_rate)
    else:
        served = CalibratedNetwork(network, NoCalibration())
    logit_C = logit_C.double()
    room_C = LOGIT_TOLERANCE * logit_C.abs().clamp(min=1.0)
    with torch.inference_mode():
        low_C, at_C, high_C = (
            torch.sigmoid(served.calibrate(each_C)) for each_C in (logit_C - room_C, logit_C, logit_C + room_C)
        )
    allowed_C: NDArray[np.float64] = torch.maximum(high_C - at_C, at_C - low_C).clamp(TOLERANCE, MAX_TOLERANCE).numpy()
    return allowed_C


def largest_difference(
    wanted: NDArray[np.floating],
    found: NDArray[np.floating],
    *,
    circumstance: str,
    allowed: float | NDArray[np.floating] = TOLERANCE,
) -> float:
    """Return the largest difference; relative above 1, as raw activation weights may be large and CTRs are at most 1.

    Args:
        circumstance: for the message, "with 3 candidates" for instance.
        allowed: for all, or for each.

    Raises:
        ParityError: other shapes, or further apart than is allowed.
    """
    if wanted.shape != found.shape:
        raise ParityError(f"{circumstance} the graph gives {found.shape}, the network {wanted.shape}")
    difference = np.abs(wanted - found) / np.maximum(1.0, np.abs(wanted))
    allowed = np.broadcast_to(allowed, difference.shape)
    if not np.all(difference <= allowed):  # NaN is a disagreement too
        worst = np.unravel_index(np.argmax(difference / allowed), difference.shape)
        raise ParityError(
            f"{circumstance} graph and network are up to {difference[worst]:.2e} apart; {allowed[worst]:.0e} is allowed"
        )
    return float(np.max(difference, initial=0.0))
