"""Expected revenue and the order of candidates."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.scoring.auction import ecpm, order_by_ecpm

# Few distinct values, so that ties are common.
revenues = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1e-300, 7.5, 1e300]), max_size=30)


def test_ecpm_is_bid_times_ctr() -> None:
    assert ecpm(np.array([0.5, 2.0, 0.0]), np.array([0.25, 0.125, 0.9])).tolist() == [0.125, 0.25, 0.0]


def test_equal_ecpm_keeps_request_order() -> None:
    assert order_by_ecpm(np.array([0.2, 0.5, 0.2, 0.5, 0.2])).tolist() == [1, 3, 0, 2, 4]


def test_a_negative_zero_ties_with_zero() -> None:
    assert order_by_ecpm(np.array([-0.0, 0.0, -0.0])).tolist() == [0, 1, 2]


@given(revenues)
def test_the_order_is_a_permutation_sorted_by_ecpm_with_stable_ties(values: list[float]) -> None:
    order = order_by_ecpm(np.array(values, dtype=np.float64)).tolist()
    assert order == sorted(range(len(values)), key=lambda position: (-values[position], position))


@given(revenues, st.integers(1, 40))
def test_top_k_is_the_beginning_of_the_whole_order(values: list[float], top_k: int) -> None:
    ecpm_C = np.array(values, dtype=np.float64)
    assert order_by_ecpm(ecpm_C, top_k=top_k).tolist() == order_by_ecpm(ecpm_C).tolist()[:top_k]
