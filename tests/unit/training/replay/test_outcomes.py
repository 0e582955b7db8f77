"""Auctions worked by hand, on slates that are their own rows."""

import numpy as np
import pytest

from dinrank.training.replay.outcomes import AuctionRules, Outcomes, replay_auctions
from dinrank.training.replay.slates import SlateRule, Slates

# slate 0:  ad   bid  CTR   eCPM  clicked        slate 1:  ad   bid   CTR   eCPM   clicked
#           0    1.0  0.10  0.10  no                       4    4.0   0.05  0.20   no
#           1    2.0  0.20  0.40  yes                      5    0.5   0.50  0.25   yes
#           2    0.5  0.60  0.30  yes
#           3    3.0  0.05  0.15  no
BID = np.array([1.0, 2.0, 0.5, 3.0, 4.0, 0.5])
CTR = np.array([0.10, 0.20, 0.60, 0.05, 0.05, 0.50])
CLICKED = np.array([False, True, True, False, False, True])
SLATES = Slates(
    rows_N=np.arange(6),
    starts_S1=np.array([0, 4, 6]),
    moment_S=np.array([0, 4]),
    user_S=np.array([0, 1]),
    rule=SlateRule.MOMENT,
    num_logged=6,
)


def outcomes(**rules: float | bool) -> Outcomes:
    return replay_auctions(SLATES, CTR, bid_N=BID, clicked_N=CLICKED, rules=AuctionRules(**rules))  # type: ignore[arg-type]


def test_the_first_price_of_a_click_is_the_bid() -> None:
    found = outcomes(slots=1)
    assert found.shown_SK.tolist() == [[1], [5]]
    assert found.clicks_S.tolist() == [1, 1]
    assert found.revenue_S.tolist() == [2.0, 0.5]
    assert found.expected_clicks_S.tolist() == [0.20, 0.50]


def test_two_slots_show_the_two_best() -> None:
    found = outcomes(slots=2)
    assert found.shown_SK.tolist() == [[1, 2], [4, 5]]
    assert found.clicks_S.tolist() == [2, 1]
    assert found.revenue_S.tolist() == [2.5, 0.5]
    assert found.expected_clicks_S.tolist() == pytest.approx([0.80, 0.55])


def test_the_second_price_is_the_next_ecpm_over_the_own_ctr() -> None:
    found = outcomes(slots=2, second_prices=True)
    # Ad 1 pays 0.30 / 0.20, ad 2 pays 0.15 / 0.60, which ad 3 made it pay though it is not shown; ad 5 0.20 / 0.50.
    assert found.revenue_S.tolist() == pytest.approx([1.5 + 0.25, 0.4])


def test_the_reserve_price_keeps_low_bids_out_and_is_the_least_that_is_paid() -> None:
    first = outcomes(slots=2, reserve_price=1.2)
    assert first.shown_SK.tolist() == [[1, 3], [-1, 4]]  # ads 0, 2 and 5 bid less
    assert first.clicks_S.tolist() == [1, 0]
    assert first.revenue_S.tolist() == [2.0, 0.0]
    second = outcomes(slots=2, reserve_price=1.2, second_prices=True)
    assert second.revenue_S.tolist() == pytest.approx([1.2, 0.0])  # ad 3 alone would make ad 1 pay 0.15 / 0.20


def test_a_reserve_price_above_all_bids_shows_nothing() -> None:
    found = outcomes(slots=1, reserve_price=10.0, second_prices=True)
    assert found.shown_SK.tolist() == [[-1], [-1]]
    assert (found.clicks_S.tolist(), found.revenue_S.tolist()) == ([0, 0], [0, 0])


def test_second_prices_never_exceed_first_ones() -> None:
    assert (outcomes(slots=3, second_prices=True).revenue_S <= outcomes(slots=3).revenue_S).all()
