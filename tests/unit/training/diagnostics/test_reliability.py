import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dinrank.training.diagnostics import reliability as module
from dinrank.training.diagnostics.reliability import reliability, wilson_interval


def test_bins_by_hand() -> None:
    """Six impressions in three bins of two: (0.1, 0.2), (0.3, 0.5), (0.7, 0.9)."""
    ctr = np.array([0.9, 0.1, 0.5, 0.3, 0.7, 0.2])
    clicked = np.array([True, False, True, False, True, False])
    found = reliability(clicked, ctr, num_bins=3)
    assert [entry.num_impressions for entry in found.bins] == [2, 2, 2]
    assert [entry.mean_ctr for entry in found.bins] == pytest.approx([0.15, 0.4, 0.8])
    assert [entry.click_rate for entry in found.bins] == [0.0, 0.5, 1.0]
    assert (found.bins[1].low, found.bins[1].high) == wilson_interval(1, 2)


def test_the_histogram_counts_every_impression_from_0_to_the_highest_ctr() -> None:
    found = reliability(np.array([True, False, False]), np.array([0.3, 0.0, 0.15]))
    assert found.histogram_edges[0] == 0.0
    assert found.histogram_edges[-1] == pytest.approx(0.3)
    assert len(found.histogram_edges) == len(found.histogram_counts) + 1 == module.NUM_HISTOGRAM_BARS + 1
    assert found.histogram_counts[0] == found.histogram_counts[15] == found.histogram_counts[-1] == 1
    assert sum(found.histogram_counts) == 3


def test_one_ctr_for_all_is_one_bin() -> None:
    found = reliability(np.array([True, False, False, False]), np.zeros(4))
    (only,) = found.bins
    assert (only.num_impressions, only.mean_ctr, only.click_rate) == (4, 0.0, 0.25)
    assert sum(found.histogram_counts) == 4


@given(num_impressions=st.integers(1, 500), share=st.floats(0.0, 1.0))
def test_a_click_rate_lies_within_its_interval_and_that_within_0_and_1(num_impressions: int, share: float) -> None:
    num_clicks = round(share * num_impressions)
    low, high = wilson_interval(num_clicks, num_impressions)
    assert 0.0 <= low <= num_clicks / num_impressions + 1e-12
    assert num_clicks / num_impressions - 1e-12 <= high <= 1.0


@pytest.mark.parametrize(("num_clicks", "num_impressions"), [(1, 10), (40, 100), (99, 100)])
def test_the_ends_of_the_interval_solve_wilsons_equation(num_clicks: int, num_impressions: int) -> None:
    """|rate − p| = z·√(p(1 − p)/n): the rates that the observed one is just compatible with."""
    for p in wilson_interval(num_clicks, num_impressions):
        error = np.sqrt(p * (1 - p) / num_impressions)
        assert abs(num_clicks / num_impressions - p) == pytest.approx(1.959964 * error, rel=1e-6)


def test_the_docstrings_examples_are_true() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 2
    assert result.failed == 0
