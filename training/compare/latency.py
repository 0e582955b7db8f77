"""Scoring latency of the exported graphs, measured side by side."""

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import onnxruntime as ort

from dinrank.model.bundle.encoding import Indices
from dinrank.model.bundle.graph import CTR_OUTPUT
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.request import encode_request

NUM_CANDIDATES = 200
ROUNDS = 50
_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Latency:
    """Attributes:
    p50_ms: of one run of the graph, without fetching, encoding and ranking.
    behaviours: in the request.
    """

    p50_ms: float
    behaviours: int


def measure_latencies(bundles: Mapping[str, Path], *, rounds: int = ROUNDS) -> dict[str, Latency]:
    """Time each bundle's graph on `NUM_CANDIDATES` items of its catalogue and its longest golden history.

    All take turns, one run each, so that other load on the machine affects all alike. ONNX Runtime has one thread.
    A catalogue with fewer items is repeated.
    """
    sessions = {name: _session(path) for name, path in bundles.items()}
    seconds: dict[str, list[float]] = {name: [] for name in bundles}
    for round_ in range(_WARM_UP + rounds):
        for name, (session, feed, _) in sessions.items():
            started = time.perf_counter()
            session.run([CTR_OUTPUT], dict(feed))
            if round_ >= _WARM_UP:
                seconds[name].append(time.perf_counter() - started)
    return {name: Latency(1000 * median(seconds[name]), sessions[name][2]) for name in bundles}


def _session(path: Path) -> tuple[ort.InferenceSession, Mapping[str, Indices], int]:
    """Open a session; return it with its inputs and their number of behaviours."""
    bundle = open_bundle(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(bundle.graph_path, options, providers=["CPUExecutionProvider"])
    return session, *_inputs(bundle)


def _inputs(bundle: Bundle) -> tuple[Mapping[str, Indices], int]:
    item_ids = bundle.encoder.catalogue.item_ids
    longest = max((answer.request for answer in bundle.golden), key=lambda request: len(request.behaviours))
    positions = np.linspace(0, len(item_ids) - 1, NUM_CANDIDATES).astype(int)
    request = dataclasses.replace(
        longest, candidates=[item_ids[position] for position in positions], candidate_attributes={}
    )
    return encode_request(bundle.encoder, request).inputs, len(bundle.encoder.newest(request.behaviours))
