"""Exported graphs: run with ONNX Runtime, and stages checked against the network."""

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


LOGIT_TOLERANCE = 4 * TOLERANCE  # of a network's own logit, relative above 1: no CTR moves by more than a quarter of it


# Legend: C = candidates.
def ctr_tolerance(network: Network | CalibratedNetwork, logit_C: Tensor) -> NDArray[np.float64]:
    """How far apart the CTRs of graph and network may be, per candidate.

    The network's own logit has to agree within `LOGIT_TOLERANCE`; a CTR may be anything that the calibration makes of
    logits so near. A steep calibration makes rounding errors large, which says nothing about the graph. The calibration
    is asked at both ends of the interval, as a slope says little where an isotonic curve bends. Without a calibration,
    and with one that is not steep, this is `TOLERANCE`; it never exceeds `MAX_TOLERANCE`.

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
    """How far apart the two are; CTRs are at most 1, raw activation weights may be large: above 1 it is relative.

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
    if not np.all(difference <= allowed):  # NaN is no agreement either
        worst = np.unravel_index(np.argmax(difference / allowed), difference.shape)
        raise ParityError(
            f"{circumstance} graph and network are up to {difference[worst]:.2e} apart; {allowed[worst]:.0e} is allowed"
        )
    return float(np.max(difference, initial=0.0))
