"""Predictor: loads a bundle's ONNX graphs, verifies them, and scores requests."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.encoding import Encoder, UnknownFeatureError
from dinrank.model.bundle.errors import GoldenMismatch, SchemaMismatch
from dinrank.model.bundle.files import GOLDEN_FILE, GRAPH_FILE
from dinrank.model.bundle.golden import GoldenAnswer
from dinrank.model.bundle.graph import (
    CTR_OUTPUT,
    WEIGHTS_OUTPUT,
    behaviour_input,
    candidate_input,
    graph_inputs,
    request_input,
)
from dinrank.model.bundle.reader import Bundle
from dinrank.model.bundle.request import OVERRIDDEN_ROW, EncodedRequest, encode_request
from dinrank.model.bundle.schema import FeatureSchema, Group
from dinrank.model.bundle.stages import (
    FLOAT_INPUTS,
    SCORES,
    STAGES,
    StagedGraph,
    output_of,
    output_shape,
    stage_file,
    stage_inputs,
)
from dinrank.service.errors import PredictionFailed
from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.scoring.sessions import Session

Floats = NDArray[np.floating]


# Legend: C = candidates, T = behaviours.
@dataclass(frozen=True, slots=True)
class Prediction:
    """The graphs' output for one request.

    Attributes:
        ctr_C: calibrated click-through rates, from 0 to 1.
        weights_CT: raw activation weights, behaviours oldest first; None when not asked for.
        num_pairs, num_looked_up: pairs of a candidate and a behaviour that were weighed, and how many of their weights
            came from the activation table. Both 0 where one graph does everything.
    """

    ctr_C: NDArray[np.float64]
    weights_CT: NDArray[np.float64] | None
    num_pairs: int
    num_looked_up: int


class _Scores(NamedTuple):
    """Unchecked output of the graphs; see `Prediction`."""

    ctr_C: Floats
    weights_CT: Floats | None
    num_pairs: int = 0
    num_looked_up: int = 0


class _Scorer(Protocol):
    has_weights: bool

    def score(self, request: EncodedRequest, *, with_weights: bool) -> _Scores: ...


class Predictor:
    """Scores requests with the graphs of one bundle. Safe to use from several threads at once."""

    def __init__(self, scorer: _Scorer) -> None:
        self._scorer = scorer
        self.has_weights = scorer.has_weights

    @classmethod
    def load(cls, bundle: Bundle, *, threads: int = 1, run_limit: RunLimit | None = None) -> Self:
        """Load the graphs; check that they fit the schema, reproduce every golden answer and accept every index.

        A bundle with stages is served by its stages. Its whole graph must reproduce the golden answers too, and is
        then released.

        Args:
            threads: how many threads one run may use.
            run_limit: ends runs that take too long; without it a run may take for ever.

        Raises:
            UnsupportedFormat: ONNX Runtime cannot read a graph.
            SchemaMismatch: a graph's inputs, outputs or tables are not those of the schema.
            GoldenMismatch: a CTR is invalid, or differs from the trainer's by more than its tolerance.
        """
        predictor = cls(_WholeGraph(bundle, threads=threads, run_limit=run_limit))
        predictor._check_bundle(bundle, file=GRAPH_FILE)
        if bundle.has_stages:
            predictor = cls(_Stages(bundle, threads=threads, run_limit=run_limit))
            predictor._check_bundle(bundle, file=stage_file(SCORES))
        return predictor

    def predict(self, request: EncodedRequest, *, with_weights: bool = False) -> Prediction:
        """Score one request in the calling thread.

        Args:
            with_weights: only for a predictor that has weights.

        Raises:
            PredictionFailed: a run failed or its output is not a CTR.
        """
        found = self._scorer.score(request, with_weights=with_weights)
        ctr_C, weights_CT = found.ctr_C, found.weights_CT
        # A comparison with NaN is false, so NaN fails too.
        if not np.all((ctr_C >= 0.0) & (ctr_C <= 1.0)):
            worst = ctr_C[~((ctr_C >= 0.0) & (ctr_C <= 1.0))][0]
            raise PredictionFailed(f"the graph gave {worst}, which is no click-through rate")
        if weights_CT is not None and not np.all(np.isfinite(weights_CT)):
            raise PredictionFailed("the graph gave activation weights that are not finite")
        return Prediction(
            ctr_C=ctr_C.astype(np.float64),
            weights_CT=None if weights_CT is None else weights_CT.astype(np.float64),
            num_pairs=found.num_pairs,
            num_looked_up=found.num_looked_up,
        )

    def _check_bundle(self, bundle: Bundle, *, file: str) -> None:
        for number, answer in enumerate(bundle.golden):
            self._check_golden(bundle.encoder, number, answer, file=file)
        self._check_tables(bundle.schema, file=file)

    def _check_golden(self, encoder: Encoder, number: int, answer: GoldenAnswer, *, file: str) -> None:
        try:
            ctr_C = self.predict(encode_request(encoder, answer.request)).ctr_C
        except UnknownFeatureError as exc:
            raise SchemaMismatch(GOLDEN_FILE, expected="requests with the schema's features", found=str(exc)) from exc
        except PredictionFailed as exc:
            raise GoldenMismatch(file, expected=f"an answer to golden request {number}", found=str(exc)) from exc
        if len(ctr_C) != len(answer.ctr):
            raise SchemaMismatch(
                file, expected=f"{len(answer.ctr)} CTRs for golden request {number}", found=str(len(ctr_C))
            )
        difference_C = np.abs(ctr_C - np.asarray(answer.ctr))
        candidate = int((difference_C / answer.allowed).argmax())  # the place of a NaN, if there is one
        difference, allowed = float(difference_C[candidate]), float(answer.allowed[candidate])
        if not difference <= allowed:  # in this form NaN fails too
            raise GoldenMismatch(
                file,
                expected=f"CTR {answer.ctr[candidate]} for candidate {candidate} of golden request {number}",
                found=f"{ctr_C[candidate]}, a difference of {difference:.3g} where {allowed:g} is allowed",
            )

    def _check_tables(self, schema: FeatureSchema, *, file: str) -> None:
        """Score the highest index of every feature: a smaller table would fail later, and only for some requests."""
        try:
            self.predict(_highest_indices(schema))
        except PredictionFailed as exc:
            raise SchemaMismatch(
                file, expected="an answer to the highest index of every feature in schema.json", found=str(exc)
            ) from exc


def _highest_indices(schema: FeatureSchema) -> EncodedRequest:
    """Build a request of one candidate and one behaviour, with the highest index of every feature."""
    num_indices = {
        name_of(feature): feature.num_indices
        for feature in schema.features
        for name_of in ((candidate_input, behaviour_input) if feature.group is Group.ITEM else (request_input,))
    }
    inputs = {
        name: np.full([1 if isinstance(size, str) else size for size in shape], num_indices[name] - 1)
        for name, shape in graph_inputs(schema).items()
    }
    of_no_item = np.array([OVERRIDDEN_ROW])
    return EncodedRequest(inputs, candidate_rows=of_no_item, behaviour_rows=of_no_item)


class _WholeGraph:
    """`model.onnx` from indices to CTRs."""

    def __init__(self, bundle: Bundle, *, threads: int, run_limit: RunLimit | None) -> None:
        self._session = session = Session(bundle.graph_path, threads=threads, run_limit=run_limit)
        session.check_inputs(graph_inputs(bundle.schema))
        session.check_output(CTR_OUTPUT, ("C",))
        self.has_weights = session.has_output(WEIGHTS_OUTPUT)
        if self.has_weights:
            session.check_output(WEIGHTS_OUTPUT, ("C", "T"))

    def score(self, request: EncodedRequest, *, with_weights: bool) -> _Scores:
        outputs = [CTR_OUTPUT, WEIGHTS_OUTPUT] if with_weights else [CTR_OUTPUT]
        ctr_C, *weights = self._session.run(outputs, request.inputs)
        return _Scores(ctr_C, weights[0] if with_weights else None)


class _Stages:
    """The stages, with the activation table if the bundle has one."""

    has_weights = True

    def __init__(self, bundle: Bundle, *, threads: int, run_limit: RunLimit | None) -> None:
        sessions = {
            stage: Session(bundle.path / stage_file(stage), threads=threads, run_limit=run_limit) for stage in STAGES
        }
        _check_stages(sessions, bundle.schema)
        runs = {stage: partial(_only_output, session, output_of(stage)) for stage, session in sessions.items()}
        self._graph = StagedGraph(bundle.schema, runs, table=bundle.table)

    def score(self, request: EncodedRequest, *, with_weights: bool) -> _Scores:
        answer = self._graph.answer(request)
        weights_CT = answer.weights_CT
        return _Scores(
            answer.ctr_C,
            weights_CT if with_weights else None,
            num_pairs=weights_CT.size,
            num_looked_up=answer.num_looked_up,
        )


def _only_output(session: Session, name: str, inputs: Mapping[str, NDArray[np.generic]]) -> NDArray[np.float32]:
    output: NDArray[np.float32] = session.run([name], inputs)[0]
    return output


def _check_stages(sessions: Mapping[str, Session], schema: FeatureSchema) -> None:
    width = sessions[SCORES].input_shape("candidates")[-1]
    if not isinstance(width, int):
        raise SchemaMismatch(stage_file(SCORES), expected="candidates of a fixed width", found=str(width))
    for stage, inputs in stage_inputs(schema, width).items():
        sessions[stage].check_inputs(inputs, floats=FLOAT_INPUTS)
        sessions[stage].check_output(output_of(stage), output_shape(stage, width))
