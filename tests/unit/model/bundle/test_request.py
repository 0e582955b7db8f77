"""One scoring request to the graph's inputs."""

from dataclasses import replace

import numpy as np

from dinrank.model.bundle.graph import graph_inputs
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.bundle.vocabulary import UNKNOWN_ID
from tests.fixtures.bundle import MAX_BEHAVIOURS, SCHEMA, make_encoder

EMPTY = ScoringRequest(
    candidates=["1"], behaviours=[], profile={}, context={}, candidate_attributes={}, behaviour_attributes={}
)
COMEDY, DRAMA = 2, 3


def test_a_request_gives_every_input_of_the_graph_in_its_shape() -> None:
    request = replace(EMPTY, candidates=["1", "2", "3"], behaviours=["4"])
    inputs = encode_request(make_encoder(), request).inputs
    sizes: dict[str | int, int] = {"C": 3, "T": 1, 1: 1, 2: 2}
    expected = {name: tuple(sizes[size] for size in shape) for name, shape in graph_inputs(SCHEMA).items()}
    assert {name: array.shape for name, array in inputs.items()} == expected
    assert list(inputs) == list(expected)
    assert {array.dtype for array in inputs.values()} == {np.dtype(np.int64)}


def test_no_behaviours_give_inputs_without_rows() -> None:
    inputs = encode_request(make_encoder(), EMPTY).inputs
    assert inputs["behaviour_item_id"].shape == (0,)
    assert inputs["behaviour_genre"].shape == (0, 2)


def test_attributes_of_behaviours_move_along_when_older_ones_are_cut() -> None:
    behaviours = ["1"] * (MAX_BEHAVIOURS + 1)
    request = replace(
        EMPTY, behaviours=behaviours, behaviour_attributes={0: {"genre": ["Horror"]}, 1: {"genre": ["Drama"]}}
    )
    genres = encode_request(make_encoder(), request).inputs["behaviour_genre"]
    assert genres[:, 0].tolist() == [DRAMA] + [COMEDY] * (MAX_BEHAVIOURS - 1)


def test_a_request_says_nothing_of_user_and_context_and_they_are_unknown() -> None:
    inputs = encode_request(make_encoder(), EMPTY).inputs
    assert inputs["user_gender"].tolist() == [UNKNOWN_ID]
    assert inputs["context_hour"].tolist() == [UNKNOWN_ID]
