"""ONNX Runtime behind one class: load a verified bundle's graph, check it, run it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from model.bundle.encoding import Encoder, Indices, UnknownFeatureError
from model.bundle.errors import GoldenMismatch, SchemaMismatch, UnsupportedFormat
from model.bundle.files import GOLDEN_FILE, GRAPH_FILE
from model.bundle.golden import TOLERANCE, GoldenAnswer
from model.bundle.graph import CTR_OUTPUT, WEIGHTS_OUTPUT, graph_inputs
from model.bundle.reader import Bundle
from model.bundle.request import encode_request
from model.bundle.schema import FeatureSchema
from service.errors import PredictionFailed

# What ONNX Runtime raises; the classes share no parent but Exception.
_RUNTIME_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


# Legend: C = candidates, T = behaviours.
@dataclass(frozen=True, slots=True)
class Prediction:
    """What the graph says about one request.

    Attributes:
        ctr_C: calibrated click-through rates, from 0 to 1.
        weights_CT: raw activation weights, behaviours oldest first; None when not asked for.
    """

    ctr_C: NDArray[np.float64]
    weights_CT: NDArray[np.float64] | None


class Predictor:
    """Runs the graph of one bundle. Safe to use from several threads at once."""

    def __init__(self, session: ort.InferenceSession) -> None:
        self._session = session
        self.has_weights = WEIGHTS_OUTPUT in [output.name for output in session.get_outputs()]

    @classmethod
    def load(cls, bundle: Bundle, *, threads: int = 1) -> Self:
        """Load the graph, check that it fits the schema and that it reproduces every golden answer.

        Args:
            threads: how many threads one run may use.

        Raises:
            UnsupportedFormat: ONNX Runtime cannot read the graph.
            SchemaMismatch: the graph's inputs or outputs are not those of the schema.
            GoldenMismatch: a CTR differs from the trainer's by more than TOLERANCE.
        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors only: they are raised as well
        # A spinning thread takes the core that the next request needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            session = ort.InferenceSession(bundle.graph_path, options, providers=["CPUExecutionProvider"])
        except _RUNTIME_ERRORS as exc:
            raise UnsupportedFormat(GRAPH_FILE, expected="a graph that ONNX Runtime loads", found=str(exc)) from exc
        _check_inputs(session, bundle.schema)
        _check_outputs(session)
        predictor = cls(session)
        predictor._check_golden(bundle.encoder, bundle.golden)
        return predictor

    def predict(self, inputs: Mapping[str, Indices], *, with_weights: bool = False) -> Prediction:
        """Run the graph once, in the calling thread.

        Args:
            inputs: as `encode_request` makes them.
            with_weights: only for a predictor that has weights.

        Raises:
            PredictionFailed: the run failed or gave something that is no CTR.
        """
        outputs = [CTR_OUTPUT, WEIGHTS_OUTPUT] if with_weights else [CTR_OUTPUT]
        try:
            ctr_C, *weights = self._session.run(outputs, dict(inputs))
        except _RUNTIME_ERRORS as exc:
            raise PredictionFailed(f"ONNX Runtime refused the request: {exc}") from exc
        # A comparison with NaN is false, so NaN fails too.
        if not np.all((ctr_C >= 0.0) & (ctr_C <= 1.0)):
            worst = ctr_C[~((ctr_C >= 0.0) & (ctr_C <= 1.0))][0]
            raise PredictionFailed(f"the graph gave {worst}, which is no click-through rate")
        if with_weights and not np.all(np.isfinite(weights[0])):
            raise PredictionFailed("the graph gave activation weights that are not finite")
        return Prediction(
            ctr_C=ctr_C.astype(np.float64), weights_CT=weights[0].astype(np.float64) if with_weights else None
        )

    def _check_golden(self, encoder: Encoder, golden: Sequence[GoldenAnswer]) -> None:
        worst = max((self._golden_difference(encoder, number, answer) for number, answer in enumerate(golden)))
        if worst.difference > TOLERANCE:
            raise GoldenMismatch(
                GRAPH_FILE,
                expected=f"CTR {worst.expected} for candidate {worst.candidate} of golden request {worst.request}",
                found=f"{worst.found}, a difference of {worst.difference:.3g} where {TOLERANCE:g} is allowed",
            )

    def _golden_difference(self, encoder: Encoder, number: int, answer: GoldenAnswer) -> "_Difference":
        """Where the graph strays furthest from one golden answer."""
        try:
            ctr_C = self.predict(encode_request(encoder, answer.request)).ctr_C
        except UnknownFeatureError as exc:
            raise SchemaMismatch(GOLDEN_FILE, expected="requests with the schema's features", found=str(exc)) from exc
        except PredictionFailed as exc:
            raise GoldenMismatch(GRAPH_FILE, expected=f"an answer to golden request {number}", found=str(exc)) from exc
        if len(ctr_C) == 0 or len(ctr_C) != len(answer.ctr):
            raise SchemaMismatch(
                GOLDEN_FILE,
                expected=f"{len(ctr_C)} CTRs, one per candidate of request {number}",
                found=f"{len(answer.ctr)}",
            )
        differences_C = np.abs(ctr_C - np.asarray(answer.ctr))
        candidate = int(differences_C.argmax())
        return _Difference(
            difference=float(differences_C[candidate]),
            request=number,
            candidate=candidate,
            expected=answer.ctr[candidate],
            found=float(ctr_C[candidate]),
        )


@dataclass(frozen=True, slots=True, order=True)
class _Difference:
    difference: float
    request: int
    candidate: int
    expected: float
    found: float


def _check_inputs(session: ort.InferenceSession, schema: FeatureSchema) -> None:
    expected = graph_inputs(schema)
    found = {node.name: node for node in session.get_inputs()}
    if found.keys() != expected.keys():
        raise SchemaMismatch(
            GRAPH_FILE, expected=f"inputs {', '.join(sorted(expected))}", found=", ".join(sorted(found)) or "none"
        )
    for name, shape in expected.items():
        node = found[name]
        if node.type != "tensor(int64)" or not _fits(node.shape, shape):
            raise SchemaMismatch(
                GRAPH_FILE, expected=f"input {name} int64 {list(shape)}", found=f"{node.type} {node.shape}"
            )


def _check_outputs(session: ort.InferenceSession) -> None:
    found = {node.name: node for node in session.get_outputs()}
    if CTR_OUTPUT not in found:
        raise SchemaMismatch(GRAPH_FILE, expected=f"an output {CTR_OUTPUT}", found=", ".join(sorted(found)))
    for name, shape in {CTR_OUTPUT: ("C",), WEIGHTS_OUTPUT: ("C", "T")}.items():
        node = found.get(name)
        if node is not None and (node.type not in ("tensor(float)", "tensor(double)") or not _fits(node.shape, shape)):
            raise SchemaMismatch(
                GRAPH_FILE, expected=f"output {name} of floats {list(shape)}", found=f"{node.type} {node.shape}"
            )


def _fits(found: Sequence[int | str | None], expected: Sequence[int | str]) -> bool:
    """Free dimensions, "C" and "T", must be free whatever the exporter calls them; fixed ones must be equal."""
    return len(found) == len(expected) and all(
        size == wanted if isinstance(wanted, int) else not isinstance(size, int)
        for size, wanted in zip(found, expected, strict=True)
    )
