"""How long something takes, by how long it took lately."""

import pytest

from dinrank.service.scoring.admission import Estimate


def test_nothing_is_known_before_the_first_measurement() -> None:
    assert Estimate().at(0.0) == 0.0


def test_the_first_measurement_counts_whole_and_the_next_by_its_share() -> None:
    estimate = Estimate(rise=0.5, fall=0.25)
    estimate.add(8.0, 0.0)
    assert estimate.at(0.0) == 8.0
    estimate.add(4.0, 0.1)
    assert estimate.at(0.1) == 8.0 + (4.0 - 8.0) * 0.25
    estimate.add(9.0, 0.2)
    assert estimate.at(0.2) == 7.0 + (9.0 - 7.0) * 0.5


def test_a_fall_of_one_follows_the_quickest_at_once() -> None:
    estimate = Estimate(rise=0.0625, fall=1.0)
    for duration_s in (0.5, 0.1, 0.26):
        estimate.add(duration_s, 0.0)
    assert estimate.at(0.0) == pytest.approx(0.1 + 0.16 / 16)


def test_what_was_measured_over_a_second_ago_is_forgotten() -> None:
    estimate = Estimate()
    estimate.add(8.0, 0.0)
    assert estimate.at(1.0) == 8.0
    assert estimate.at(1.1) == 0.0
    estimate.add(2.0, 1.1)
    assert estimate.at(1.1) == 2.0
