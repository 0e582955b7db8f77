"""Subjects of the comparison: each prepares untimed, then scores requests against the clock."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from bench.serving.material import Material
from bench.serving.products import products_graph
from bench.serving.repeated import INPUTS
from bench.serving.rows import export_rows_graph
from bench.serving.setting import Shape
from dinrank.model.bundle.encoding import Indices
from dinrank.model.bundle.files import GRAPH_FILE
from dinrank.model.bundle.graph import CTR_OUTPUT
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.service.scoring.predictor import Predictor
from dinrank.training.export.bundle import ServingGraph


class Skipped(Exception):
    """The subject is not available here; the message says why."""


class Subject(Protocol):
    """One way to score."""

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        """Load the network and encode the requests; none of this is timed. Raises: Skipped."""

    def score(self, number: int) -> NDArray[Any] | None:
        """Return the CTRs of the candidates of request `number`; None for a subject that only measures work."""


# Legend: C = candidates, N = rows, one per candidate; T = behaviours.
class PlainGraph:
    """The product: its predictor on a bundle without a table."""

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        self._load(material.bundle, requests)

    def _load(self, path: Path, requests: Sequence[ScoringRequest]) -> None:
        bundle = open_bundle(path)
        self._predictor = Predictor.load(bundle, threads=1)
        self._requests = [encode_request(bundle.encoder, request) for request in requests]

    def score(self, number: int) -> NDArray[Any]:
        return self._predictor.predict(self._requests[number]).ctr_C


class OneGraph:
    """The product's `model.onnx` by itself: split and folded, but all pairs at once."""

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        self._session = one_threaded(str(material.bundle / GRAPH_FILE))
        self._inputs = [encode_request(material.encoder, request).inputs for request in requests]

    def score(self, number: int) -> NDArray[Any]:
        ctr_C: NDArray[Any] = self._session.run([CTR_OUTPUT], dict(self._inputs[number]))[0]
        return ctr_C


class ActivationTable(PlainGraph):
    """The product: the same predictor on a bundle with an activation table.

    Attributes:
        looked_up: share of the pairs of a candidate and a behaviour found in the table; None before `prepare`.
    """

    looked_up: float | None = None

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        if material.bundle_with_table is None:
            raise Skipped("the bundle has no activation table")
        self._load(material.bundle_with_table, requests)
        predictions = [self._predictor.predict(request) for request in self._requests]
        num_pairs = sum(prediction.num_pairs for prediction in predictions)
        self.looked_up = sum(prediction.num_looked_up for prediction in predictions) / num_pairs


class EagerRepeated:
    """Eager PyTorch with a row per candidate and the history in each row.

    Args:
        build: the network that takes `INPUTS`.
    """

    def __init__(self, build: Callable[[Material], nn.Module]) -> None:
        self._build = build

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        self._network = self._build(material).eval()
        self._rows = [
            [torch.from_numpy(array) for array in repeat(encode_request(material.encoder, request).inputs).values()]
            for request in requests
        ]

    def score(self, number: int) -> NDArray[Any]:
        with torch.inference_mode():
            ctr_N: NDArray[Any] = self._network(*self._rows[number]).numpy()
        return ctr_N


class OnnxRepeated:
    """The same network and the same rows as an ONNX graph in ONNX Runtime."""

    def __init__(self, build: Callable[[Material], nn.Module], directory: Path) -> None:
        self._build = build
        self._path = directory / "repeated.onnx"

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        export_rows_graph(self._build(material), self._path)
        self._session = one_threaded(str(self._path))
        self._rows = [repeat(encode_request(material.encoder, request).inputs) for request in requests]

    def score(self, number: int) -> NDArray[Any]:
        ctr_N: NDArray[Any] = self._session.run(None, self._rows[number])[0]
        return ctr_N


class EagerOnce:
    """Eager PyTorch on the product's own layout: one user, the history once, broadcast to the candidates."""

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        self._graph = ServingGraph(material.network, material.encoder.schema)
        self._inputs = [encode_request(material.encoder, request).inputs for request in requests]

    def score(self, number: int) -> NDArray[Any]:
        return self._graph.score(self._inputs[number])


class MatrixProducts:
    """The matrix products of DIN's plain graph alone."""

    def __init__(self, shape: Shape) -> None:
        self._shape = shape

    def prepare(self, material: Material, requests: Sequence[ScoringRequest]) -> None:
        model, self._feed = products_graph(self._shape)
        self._session = one_threaded(model.SerializeToString())

    def score(self, number: int) -> None:
        self._session.run(None, self._feed)


def one_threaded(graph: str | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


def repeat(inputs: Mapping[str, Indices]) -> dict[str, Indices]:
    """Turn the product's inputs for one user into rows, one per candidate, by the names in `INPUTS`."""
    num_rows = len(inputs["candidate_item_id"])
    arrays = (
        inputs["candidate_item_id"],
        inputs["candidate_category"],
        np.tile(inputs["behaviour_item_id"], (num_rows, 1)),
        np.tile(inputs["behaviour_category"], (num_rows, 1)),
        np.repeat(inputs["user_segment"], num_rows),
        np.repeat(inputs["context_hour"], num_rows),
    )
    return dict(zip(INPUTS, arrays, strict=True))
