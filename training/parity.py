"""What counts as the same answer of graph and network."""

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bundle.golden import MAX_TOLERANCE, TOLERANCE
from model.layers.calibration import NoCalibration
from model.nets.calibrated import CalibratedNetwork
from model.nets.registry import Network

LOGIT_TOLERANCE = 4 * TOLERANCE  # of a network's own logit, relative above 1: no CTR moves by more than a quarter of it


class ParityError(Exception):
    """An exported graph and the network disagree; nothing was written."""


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
