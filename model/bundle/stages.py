"""The stages of a graph cut at its activation weights: their files and inputs, and how to run them together.

    stage_items                  indices of items                   -> their vectors
    stage_weights_by_candidate   vectors of few candidates and of many behaviours, or of few behaviours
    stage_weights_by_behaviour   and many candidates                -> raw weights of all their pairs
    stage_scores                 vectors, weights, user and context -> CTRs

Together they compute what `model.onnx` computes. With the cut, weights can be computed in tiles that
stay in the processor's cache, or be looked up in an activation table. Trainer and service run the stages with ONNX
Runtime; the code between the stages is here, once.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.activations import ActivationTable
from dinrank.model.bundle.graph import CTR_OUTPUT, behaviour_input, candidate_input, request_input
from dinrank.model.bundle.request import EncodedRequest
from dinrank.model.bundle.schema import Feature, FeatureSchema, Group, Kind

Floats = NDArray[np.float32]
RunStage = Callable[[Mapping[str, NDArray[np.generic]]], NDArray[np.float32]]

ITEMS = "stage_items"
WEIGHTS_BY_CANDIDATE = "stage_weights_by_candidate"
WEIGHTS_BY_BEHAVIOUR = "stage_weights_by_behaviour"
SCORES = "stage_scores"
STAGES = (ITEMS, WEIGHTS_BY_CANDIDATE, WEIGHTS_BY_BEHAVIOUR, SCORES)
FLOAT_INPUTS = frozenset({"few", "many", "candidates", "behaviours", "weights"})  # float32; the others are int64

# Pairs at a time. One layer of 80 units is then 320 kB, so that a layer and the next stay in a second-level cache of
# 1 to 2 MB; measured in docs/performance.md.
TILE = 1024


# Legend: N = items, C = candidates, T = behaviours, D = item width, M = slots of a multi-valued feature.
# Two sides of pairs: F = rows of the one that carries the first layer's matrices, E = rows of the other.
def stage_file(stage: str) -> str:
    return f"{stage}.onnx"


def item_input(feature: Feature) -> str:
    return f"item_{feature.name}"


def output_of(stage: str) -> str:
    return {ITEMS: "vectors", SCORES: CTR_OUTPUT}.get(stage, "weights")


def output_shape(stage: str, item_width: int) -> tuple[str | int, ...]:
    shapes: dict[str, tuple[str | int, ...]] = {ITEMS: ("N", item_width), SCORES: ("C",)}
    return shapes.get(stage, ("F", "E"))


def stage_inputs(schema: FeatureSchema, item_width: int) -> dict[str, dict[str, tuple[str | int, ...]]]:
    """Every stage's inputs and their shapes, in order. Letters are free: N, C, F and E from 1, T from 0 on.

    Each stage has one output: vectors [N, D], weights [F, E] or CTRs [C].
    """
    pairs: dict[str, tuple[str | int, ...]] = {"few": ("F", item_width), "many": (item_width, "E")}
    return {
        ITEMS: {item_input(feature): _shape(feature, "N") for feature in schema.group(Group.ITEM)},
        WEIGHTS_BY_CANDIDATE: pairs,
        WEIGHTS_BY_BEHAVIOUR: pairs,
        SCORES: {
            "candidates": ("C", item_width),
            "behaviours": ("T", item_width),
            "weights": ("C", "T"),
            **{request_input(feature): _shape(feature, 1) for feature in _of_request(schema)},
        },
    }


def _of_request(schema: FeatureSchema) -> tuple[Feature, ...]:
    return (*schema.group(Group.USER), *schema.group(Group.CONTEXT))


def _shape(feature: Feature, leading: str | int) -> tuple[str | int, ...]:
    return (leading, feature.max_values) if feature.kind is Kind.MULTI else (leading,)


@dataclass(frozen=True, slots=True)
class StagedAnswer:
    """Attributes:
    ctr_C: calibrated click-through rates.
    weights_CT: raw activation weights.
    num_looked_up: how many of them came from the table.
    """

    ctr_C: Floats
    weights_CT: Floats
    num_looked_up: int


class StagedGraph:
    """The stages of one bundle, run one after the other for a request.

    Args:
        run: each stage's graph, from its inputs to its one output.
        table: precomputed weights, if any.
    """

    def __init__(
        self, schema: FeatureSchema, run: Mapping[str, RunStage], *, table: ActivationTable | None = None
    ) -> None:
        self._schema = schema
        self._items = schema.group(Group.ITEM)
        self._of_request = [request_input(feature) for feature in _of_request(schema)]
        self._run = run
        self.table = table

    def with_table(self, table: ActivationTable) -> "StagedGraph":
        return StagedGraph(self._schema, self._run, table=table)

    def answer(self, request: EncodedRequest) -> StagedAnswer:
        candidates_CD, behaviours_TD = self._vectors(request)
        weights_CT, num_looked_up = self._weights(request, candidates_CD, behaviours_TD)
        ctr_C = self._run[SCORES](
            {
                "candidates": candidates_CD,
                "behaviours": behaviours_TD,
                "weights": weights_CT,
                **{name: request.inputs[name] for name in self._of_request},
            }
        )
        return StagedAnswer(ctr_C, weights_CT, num_looked_up)

    def item_vectors(self, indices: Mapping[str, NDArray[np.int64]]) -> Floats:
        """[N, D] for the indices of items, per item feature [N] or [N, M]."""
        return self._run[ITEMS]({item_input(feature): indices[feature.name] for feature in self._items})

    def pair_weights(self, candidates_CD: Floats, behaviours_TD: Floats) -> Floats:
        """The raw weight of every pair, [C, T], computed."""
        if len(candidates_CD) <= len(behaviours_TD):
            return self._tiles(WEIGHTS_BY_CANDIDATE, candidates_CD, behaviours_TD)
        return np.ascontiguousarray(self._tiles(WEIGHTS_BY_BEHAVIOUR, behaviours_TD, candidates_CD).T)

    def _vectors(self, request: EncodedRequest) -> tuple[Floats, Floats]:
        together = {
            feature.name: np.concatenate(
                [request.inputs[candidate_input(feature)], request.inputs[behaviour_input(feature)]]
            )
            for feature in self._items
        }
        vectors_ND = self.item_vectors(together)
        num_candidates = len(request.candidate_rows)
        return vectors_ND[:num_candidates], vectors_ND[num_candidates:]

    def _weights(self, request: EncodedRequest, candidates_CD: Floats, behaviours_TD: Floats) -> tuple[Floats, int]:
        """Looked up where the table has both items, computed elsewhere; and how many were looked up."""
        if self.table is None:
            return self.pair_weights(candidates_CD, behaviours_TD), 0
        line_C, column_T = self.table.lines(request.candidate_rows), self.table.columns(request.behaviour_rows)
        has_line_C, has_column_T = line_C >= 0, column_T >= 0
        if has_line_C.all() and has_column_T.all():
            return self.table.gather(line_C, column_T), line_C.size * column_T.size
        known_C, known_T, other_C, other_T = map(np.flatnonzero, (has_line_C, has_column_T, ~has_line_C, ~has_column_T))
        weights_CT = np.empty((line_C.size, column_T.size), dtype=np.float32)
        weights_CT[np.ix_(known_C, known_T)] = self.table.gather(line_C[known_C], column_T[known_T])
        weights_CT[:, other_T] = self.pair_weights(candidates_CD, behaviours_TD[other_T])
        weights_CT[np.ix_(other_C, known_T)] = self.pair_weights(candidates_CD[other_C], behaviours_TD[known_T])
        return weights_CT, known_C.size * known_T.size

    def _tiles(self, stage: str, few_FD: Floats, many_ED: Floats) -> Floats:
        """[F, E], at most `TILE` pairs at a time."""
        num_few, num_many = len(few_FD), len(many_ED)
        weights_FE = np.empty((num_few, num_many), dtype=np.float32)
        run = self._run[stage]
        wide = min(num_many, TILE)
        high = TILE // wide if wide else 0
        for left in range(0, num_many, wide or 1):
            many_DE = np.ascontiguousarray(many_ED[left : left + wide].T)
            for top in range(0, num_few, high):
                tile = run({"few": few_FD[top : top + high], "many": many_DE})
                weights_FE[top : top + high, left : left + wide] = tile
        return weights_FE
