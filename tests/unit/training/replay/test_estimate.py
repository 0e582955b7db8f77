import numpy as np
import pytest

from dinrank.training.errors import ReplayError
from dinrank.training.replay.estimate import Interval, compare
from dinrank.training.replay.outcomes import Outcomes

RESAMPLES = 4000
WIDTH = 2 * 1.959964  # of a 95 % interval, in standard errors


def outcomes(
    revenue_S: "np.typing.NDArray[np.float64] | list[float]", *, clicks: float = 1.0, shown: int = 0
) -> Outcomes:
    revenue = np.asarray(revenue_S, dtype=np.float64)
    same = np.ones_like(revenue)
    return Outcomes(clicks * same, revenue, 0.25 * same, np.full((len(revenue), 1), shown))


def width(interval: Interval) -> float:
    assert interval.low is not None and interval.high is not None
    return interval.high - interval.low


def test_figures_are_means_over_slates_and_ratios_of_sums() -> None:
    """Two users, one with three slates: a mean over users would be another."""
    a, b = outcomes([1, 2, 3, 6]), outcomes([1, 1, 1, 1], clicks=0.5, shown=7)
    found = compare(a, b, np.array([0, 0, 0, 1]), resamples=100, seed=0)
    assert found.a.revenue_per_slate.estimate == pytest.approx(3.0)
    assert found.b.revenue_per_slate.estimate == pytest.approx(1.0)
    assert found.revenue_difference.estimate == pytest.approx(2.0)
    assert found.revenue_relative.estimate == pytest.approx(2.0)
    assert found.clicks_relative.estimate == pytest.approx(1.0)
    assert (found.a.expected_over_observed, found.b.expected_over_observed) == (0.25, 0.5)
    assert (found.agreement, found.a.clicks, found.a.revenue) == (0.0, 4, 12.0)


def test_a_bundle_against_itself_differs_by_exactly_nothing() -> None:
    rng = np.random.default_rng(1)
    one = outcomes(rng.random(301))
    found = compare(one, one, rng.permutation(np.arange(301) % 17), resamples=200, seed=3)
    nothing = Interval(0.0, 0.0, 0.0)
    assert found.revenue_difference == found.revenue_relative == found.clicks_difference == nothing
    assert found.agreement == 1.0
    assert not found.revenue_difference.excludes_zero()


def test_the_interval_is_that_of_the_normal_approximation_where_it_holds() -> None:
    """One slate for each of 400 users: the mean's standard error is s / sqrt(400)."""
    rng = np.random.default_rng(2)
    revenue_S = rng.exponential(size=400)
    found = compare(outcomes(revenue_S), outcomes(np.zeros(400)), np.arange(400), resamples=RESAMPLES, seed=0)
    error = revenue_S.std() / 20
    assert width(found.revenue_difference) == pytest.approx(WIDTH * error, rel=0.06)
    middle = (found.revenue_difference.low + found.revenue_difference.high) / 2  # type: ignore[operator]
    assert middle == pytest.approx(revenue_S.mean(), abs=0.2 * error)


def test_slates_of_one_user_count_as_one_observation() -> None:
    """Each user's slate nine times over tells nothing new: the interval stays, where independent slates narrow it."""
    rng = np.random.default_rng(3)
    revenue_U = rng.exponential(size=200)
    once = compare(outcomes(revenue_U), outcomes(np.zeros(200)), np.arange(200), resamples=RESAMPLES, seed=0)
    revenue_S, user_S = np.repeat(revenue_U, 9), np.repeat(np.arange(200), 9)
    nine = compare(outcomes(revenue_S), outcomes(np.zeros(1800)), user_S, resamples=RESAMPLES, seed=0)
    assert width(nine.revenue_difference) == pytest.approx(width(once.revenue_difference))


def test_users_with_many_slates_weigh_more_in_the_interval_as_a_ratio_has_it() -> None:
    """Against the delta method: the variance of Σx / Σn over users is Σ(x - r n)² / (Σn)²."""
    rng = np.random.default_rng(4)
    count_U = rng.integers(1, 8, size=500)
    user_S = np.repeat(np.arange(500), count_U)
    revenue_S = rng.exponential(size=500)[user_S] + rng.random(len(user_S))
    found = compare(outcomes(revenue_S), outcomes(0 * revenue_S), user_S, resamples=RESAMPLES, seed=0)
    total_U = np.bincount(user_S, weights=revenue_S)
    error = np.sqrt(((total_U - revenue_S.mean() * count_U) ** 2).sum()) / len(user_S)
    assert width(found.revenue_difference) == pytest.approx(WIDTH * error, rel=0.06)


def test_a_relative_difference_to_nothing_is_not_defined() -> None:
    found = compare(outcomes([1, 2]), outcomes([0, 0], clicks=0), np.array([0, 1]), resamples=100, seed=0)
    assert found.revenue_relative == found.clicks_relative == Interval(None, None, None)
    assert found.b.expected_over_observed is None


def test_one_seed_gives_one_interval() -> None:
    rng = np.random.default_rng(5)
    a, b, users = outcomes(rng.random(50)), outcomes(rng.random(50)), np.arange(50)
    first, second, other = (compare(a, b, users, resamples=100, seed=seed) for seed in (0, 0, 1))
    assert first == second != other


def test_one_user_gives_no_interval() -> None:
    with pytest.raises(ReplayError, match="slates of two users at least"):
        compare(outcomes([1, 2]), outcomes([1, 1]), np.array([0, 0]), resamples=100, seed=0)
