"""Which behaviours mattered most."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from dinrank.service.scoring.ranking import NUM_STRONGEST, explain, strongest

weights = arrays(
    np.float64,
    array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=7),
    elements=st.sampled_from([-2, -1, 0, 0.5, 1]),
)


@given(weights)
def test_the_strongest_are_the_largest_whatever_their_sign_and_the_newer_of_equals(weights_KT: np.ndarray) -> None:
    expected = [
        sorted(range(len(row)), key=lambda place: (-abs(row[place]), -place))[:NUM_STRONGEST]
        for row in weights_KT.tolist()
    ]
    assert strongest(weights_KT).tolist() == expected


def test_a_negative_weight_counts_by_its_size() -> None:
    explanation = explain(["a", "b"], np.array([[0.2, -0.9]]))
    assert (explanation.weights, explanation.strongest) == ([[0.2, -0.9]], [[1, 0]])
