import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss  # type: ignore[import-untyped]
from sklearn.metrics import roc_auc_score

from dinrank.training.measure import metrics
from dinrank.training.measure.metrics import (
    all_metrics,
    auc,
    calibration,
    equal_count_bins,
    expected_calibration_error,
    gauc,
    log_loss,
    rela_impr,
)

# User, clicked and CTR; few CTRs, so that ties are common, and few users, so that one class is.
Impression = tuple[int, bool, float]

impressions = st.lists(
    st.tuples(st.sampled_from([-7, 2, 3, 40]), st.booleans(), st.sampled_from([0.0, 0.1, 0.25, 0.7, 1.0])),
    min_size=1,
    max_size=40,
)


def columns(rows: list[Impression]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    user, clicked, ctr = zip(*rows, strict=True)
    return np.array(user), np.array(clicked), np.array(ctr)


def both_classes(rows: list[Impression]) -> bool:
    return len({clicked for _, clicked, _ in rows}) == 2


@settings(deadline=None)
@given(rows=impressions.filter(both_classes))
def test_auc_equals_scikit_learns_ties_included(rows: list[Impression]) -> None:
    _, clicked, ctr = columns(rows)
    assert auc(clicked, ctr) == pytest.approx(roc_auc_score(clicked, ctr), abs=1e-12)


@settings(deadline=None)
@given(rows=impressions)
def test_auc_counts_pairs_a_tie_as_one_half(rows: list[Impression]) -> None:
    """The definition, pair by pair; no pair, no AUC."""
    pairs = [(yes, no) for _, clicked, yes in rows if clicked for _, other, no in rows if not other]
    found = auc(*columns(rows)[1:])
    if not pairs:
        assert math.isnan(found)
    else:
        assert found == pytest.approx(sum((yes > no) + (yes == no) / 2 for yes, no in pairs) / len(pairs), abs=1e-12)


@settings(deadline=None)
@given(rows=impressions)
def test_gauc_is_weighted_by_impressions_over_users_with_both_classes(rows: list[Impression]) -> None:
    total, weight = 0.0, 0
    for user in {row[0] for row in rows}:
        of_user = [row for row in rows if row[0] == user]
        if both_classes(of_user):
            total += len(of_user) * roc_auc_score([row[1] for row in of_user], [row[2] for row in of_user])
            weight += len(of_user)
    found = gauc(*columns(rows))
    if weight:
        assert found == pytest.approx(total / weight, abs=1e-12)
    else:
        assert math.isnan(found)


def test_gauc_by_hand_differs_from_the_unweighted_mean_and_from_auc() -> None:
    """User 1: 4 impressions, the click above two and below one of the others, AUC 2/3. User 2: 2 impressions, a tie,
    AUC 1/2. User 3: clicks alone, left out. (4·2/3 + 2·1/2) / 6 = 11/18, where the unweighted mean is 7/12."""
    rows = [(1, True, 0.6), (1, False, 0.5), (1, False, 0.4), (1, False, 0.9)]
    rows += [(2, True, 0.1), (2, False, 0.1), (3, True, 0.2), (3, True, 0.3)]
    user, clicked, ctr = columns(rows)
    assert gauc(user, clicked, ctr) == pytest.approx(11 / 18)
    assert gauc(user, clicked, ctr) != pytest.approx(7 / 12)
    assert gauc(user, clicked, ctr) != pytest.approx(auc(clicked, ctr))


def test_gauc_compares_within_a_user_only() -> None:
    """Each user's click is above their other impression, while across users the order is reversed."""
    user, clicked, ctr = columns([(1, True, 0.2), (1, False, 0.1), (2, True, 0.9), (2, False, 0.8)])
    assert gauc(user, clicked, ctr) == 1.0
    assert auc(clicked, ctr) == 0.75


@pytest.mark.parametrize("clicked", [True, False])
def test_one_class_has_no_auc_and_no_gauc(clicked: bool) -> None:
    rows = columns([(1, clicked, 0.1), (2, clicked, 0.2)])
    assert math.isnan(gauc(*rows)) and math.isnan(auc(*rows[1:]))


@settings(deadline=None)
@given(rows=st.lists(st.tuples(st.booleans(), st.floats(0.001, 0.999)), min_size=1, max_size=20))
def test_log_loss_equals_scikit_learns(rows: list[tuple[bool, float]]) -> None:
    clicked, ctr = (np.array(column) for column in zip(*rows, strict=True))
    assert log_loss(clicked, ctr) == pytest.approx(sklearn_log_loss(clicked, ctr, labels=[False, True]))


def test_log_loss_of_a_sure_mistake_is_finite() -> None:
    """−ln(1e-12) for the mistake, nothing for the other, in either direction; float32 as the network gives it."""
    expected = pytest.approx(12 * math.log(10) / 2, rel=1e-4)
    assert log_loss(np.array([True, True]), np.array([0.0, 1.0], dtype=np.float32)) == expected
    assert log_loss(np.array([False, False]), np.array([0.0, 1.0], dtype=np.float32)) == expected


def test_calibration_is_promised_over_real_clicks() -> None:
    assert calibration(np.array([True, False, True, False]), np.array([0.5, 0.5, 0.25, 0.25])) == 0.75
    assert math.isnan(calibration(np.array([False]), np.array([0.5])))


def test_expected_calibration_error_by_hand() -> None:
    """Bins of 3 and 3: CTRs 0.1, 0.1 and 0.4 (mean 0.2) with one click of three, then 0.5, 0.6 and 0.7 (mean 0.6) with
    two of three: |0.2 − 1/3|·½ + |0.6 − 2/3|·½ = 0.1. Equally wide bins would be {0.1, 0.1} and the rest."""
    ctr = np.array([0.7, 0.1, 0.5, 0.1, 0.6, 0.4])
    clicked = np.array([True, True, False, False, True, False])
    assert expected_calibration_error(clicked, ctr, num_bins=2, min_rows=3) == pytest.approx(0.1)


def test_errors_in_opposite_directions_do_not_cancel_between_bins_but_do_in_the_sum() -> None:
    ctr = np.repeat([0.1, 0.9], 100)
    clicked = np.arange(200) % 2 == 0
    assert calibration(clicked, ctr) == pytest.approx(1.0)
    assert expected_calibration_error(clicked, ctr) == pytest.approx(0.4)


def test_few_rows_have_fewer_bins() -> None:
    """99 rows have one bin of at least 50, where the errors cancel; 100 have two, where they do not: CTRs of 0/99 to
    49/99 are all clicked, those of 50/99 to 99/99 are not."""
    ctr = np.linspace(0.0, 1.0, 100)
    clicked = ctr < 0.5
    assert expected_calibration_error(clicked, ctr) == pytest.approx((1 - 24.5 / 99) / 2 + (74.5 / 99) / 2)
    one_bin = expected_calibration_error(clicked[:99], ctr[:99])
    assert one_bin == pytest.approx(abs(ctr[:99].mean() - clicked[:99].mean()))


def test_the_order_of_equal_ctrs_does_not_matter() -> None:
    """All clicks first: cut through the tie, bins would promise 0.5 where 1 and 0 are clicked."""
    assert expected_calibration_error(np.arange(200) < 100, np.full(200, 0.5)) == 0.0


@settings(deadline=None)
@given(values=st.lists(st.integers(0, 12), min_size=1, max_size=60), num_bins=st.integers(1, 8))
def test_bins_are_in_order_keep_ties_together_and_are_about_equal(values: list[int], num_bins: int) -> None:
    value = np.array(values)
    bins = equal_count_bins(value, num_bins)
    assert set(bins) == set(range(bins.max() + 1)) and bins.max() < num_bins
    order = np.argsort(value, kind="stable")
    assert (np.diff(bins[order]) >= 0).all()
    assert all(len(set(bins[value == each])) == 1 for each in set(values))
    largest_tie = max(values.count(each) for each in values)
    assert np.bincount(bins).max() < len(values) / num_bins + largest_tie + 1


def test_rela_impr_reproduces_the_papers_figures() -> None:
    """DIN's paper prints these for Alibaba's data, where the base model has 0.5970: LR and DIN with MBA and Dice."""
    assert rela_impr(0.5738, 0.5970) == pytest.approx(-23.92, abs=0.005)
    assert rela_impr(0.6083, 0.5970) == pytest.approx(11.65, abs=0.005)
    assert rela_impr(0.75, 0.75) == 0.0
    assert rela_impr(0.5, 0.75) == -100.0


def test_the_reports_row_holds_each_metric_under_its_name() -> None:
    user, clicked, ctr = columns([(1, True, 0.2), (1, False, 0.1), (2, True, 0.9), (2, False, 0.8)])
    assert all_metrics(user, clicked, ctr) == {
        "auc": 0.75,
        "gauc": 1.0,
        "log_loss": pytest.approx(-(math.log(0.2) + math.log(0.9) + math.log(0.9) + math.log(0.2)) / 4),
        "calibration": 1.0,
        "expected_calibration_error": pytest.approx(0.0, abs=1e-12),
    }


def test_the_docstrings_examples_are_true() -> None:
    result = doctest.testmod(metrics)
    assert result.attempted >= 9
    assert result.failed == 0
