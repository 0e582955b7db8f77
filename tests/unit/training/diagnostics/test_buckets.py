import doctest

import numpy as np
import pytest

from dinrank.training.diagnostics import buckets as module
from dinrank.training.diagnostics.buckets import (
    BucketGauc,
    Buckets,
    gauc_by_bucket,
    gauc_with_error,
    history_length_buckets,
    popularity_buckets,
)
from dinrank.training.measure.predict import Predictions


def predictions(rows: list[tuple[int, bool, float]]) -> Predictions:
    """Of user, clicked and CTR."""
    user, clicked, ctr = zip(*rows, strict=True)
    return Predictions(np.arange(len(rows)), np.array(user), np.array(clicked), np.array(ctr, dtype=np.float32))


def test_history_lengths_end_where_the_network_stops_looking() -> None:
    assert history_length_buckets(50).labels() == ["0", "1–4", "5–9", "10–19", "20–49", "50+"]
    assert history_length_buckets(200).lower == history_length_buckets(50).lower
    assert history_length_buckets(6).labels() == ["0", "1–4", "5+"]


def test_popularity_buckets_hold_about_as_many_training_impressions_each() -> None:
    counts = np.random.default_rng(0).geometric(0.02, size=5000)
    buckets = popularity_buckets(counts)
    assert buckets.lower[:2] == (0, 1)
    sizes = np.bincount(buckets.positions(counts), minlength=len(buckets.lower))
    assert sizes[0] == 0  # what training saw has been seen
    assert sizes[1:] == pytest.approx([1000] * 5, abs=100)


def test_popularities_that_many_items_share_make_fewer_buckets() -> None:
    assert popularity_buckets(np.array([1, 1, 1, 1, 1, 1, 1, 9, 9, 9])).labels() == ["0", "1–8", "9+"]


def test_a_number_lies_in_the_bucket_that_names_it() -> None:
    assert Buckets((0, 1, 5)).positions(np.array([0, 1, 4, 5, 99])).tolist() == [0, 1, 1, 2, 2]


def test_gauc_in_a_bucket_by_hand() -> None:
    """Lengths below 5: user 1 has 3 impressions and AUC 1, user 2 has 2 and AUC 0, so GAUC is (3·1 + 2·0)/5.

    Above, user 1 has clicks alone and user 2 a tie: one user counts, which is too few.
    """
    rows = [(1, True, 0.9), (1, False, 0.1), (1, False, 0.2), (2, True, 0.3), (2, False, 0.4)]
    rows += [(1, True, 0.5), (2, True, 0.6), (2, False, 0.6)]
    lengths = np.array([1, 2, 4, 0, 3, 5, 8, 9])
    low, high = gauc_by_bucket(predictions(rows), Buckets((0, 5)), lengths, min_users=2)
    assert (low.label, low.num_impressions, low.num_users) == ("0–4", 5, 2)
    assert low.gauc == pytest.approx(0.6)
    # √(2/1 · ((3·0.4)² + (2·0.6)²)) / 5 = √5.76 / 5 = 0.48, and 0.6 ± 1.96·0.48 reaches beyond 0 and 1.
    assert gauc_with_error(np.array([1.0, 0.0]), [3, 2]) == (pytest.approx(0.6), pytest.approx(0.48))
    assert (low.low, low.high) == (0.0, 1.0)
    assert high == BucketGauc("5+", 3, 1, None, None, None)


def test_an_empty_bucket_has_no_gauc() -> None:
    found = gauc_by_bucket(predictions([(1, True, 0.5)]), Buckets((0, 5)), np.array([7]))
    assert found[0] == BucketGauc("0–4", 0, 0, None, None, None)


def test_the_error_is_what_a_bootstrap_over_users_finds() -> None:
    rng = np.random.default_rng(1)
    aucs, counts = rng.uniform(0.3, 1.0, size=400), rng.integers(2, 40, size=400)
    gauc, error = gauc_with_error(aucs, counts)
    drawn = rng.integers(0, 400, size=(4000, 400))
    bootstrap = (counts * aucs)[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    assert gauc == pytest.approx(np.sum(counts * aucs) / np.sum(counts))
    assert error == pytest.approx(bootstrap.std(), rel=0.05)


def test_the_docstrings_examples_are_true() -> None:
    result = doctest.testmod(module)
    assert result.attempted >= 1
    assert result.failed == 0
