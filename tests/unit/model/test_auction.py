"""Expected revenue, the order of candidates and second prices, against auctions worked out by hand."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dinrank.model.auction import Auction, ecpm, generalised_second_prices, hold_auction, order_by_ecpm

# Few distinct values, so that ties are common.
revenues = st.lists(st.sampled_from([0.0, 0.1, 0.25, 1e-300, 7.5, 1e300]), max_size=30)
bidders = st.lists(
    st.tuples(st.sampled_from([0.0, 0.3, 0.5, 1.0, 2.0, 7.25]), st.sampled_from([0.0, 1e-9, 0.01, 0.02, 0.5, 1.0])),
    max_size=12,
)
reserves = st.sampled_from([0.0, 0.3, 0.4, 1.0, 8.0])


def auction(bids: list[float], ctrs: list[float], **options: float | bool | None) -> Auction:
    return hold_auction(np.array(bids), np.array(ctrs), **options)  # type: ignore[arg-type]


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


def test_three_bidders_two_places_worked_out_by_hand() -> None:
    # eCPM: A 4.0 x 0.05 = 0.20, B 3.0 x 0.10 = 0.30, C 1.0 x 0.12 = 0.12.
    found = auction([4.0, 3.0, 1.0], [0.05, 0.10, 0.12], top_k=2, second_prices=True)
    assert found.winner_K.tolist() == [1, 0]
    assert found.ecpm_K == pytest.approx([0.30, 0.20])
    assert found.price_K == pytest.approx([0.20 / 0.10, 0.12 / 0.05])  # B pays 2.00 of 3.00, A pays 2.40 of 4.00
    assert found.num_below_reserve == 0


def test_a_reserve_price_keeps_low_bids_out_and_holds_up_prices() -> None:
    # eCPM: A 0.10, B 0.06, C 0.09; C has the best CTR and bids too little.
    found = auction([1.0, 0.6, 0.3], [0.1, 0.1, 0.3], reserve_price=0.5, second_prices=True)
    assert found.winner_K.tolist() == [0, 1]
    assert found.price_K == pytest.approx([0.6, 0.5])  # A pays for B; B has nobody behind it and pays the reserve price
    assert found.num_below_reserve == 1


def test_the_reserve_price_is_a_floor_where_the_next_would_cost_less() -> None:
    found = auction([2.0, 1.0], [0.5, 0.1], reserve_price=0.8, second_prices=True)
    assert found.price_K == pytest.approx([0.8, 0.8])  # the next costs the first only 0.1 / 0.5 = 0.2


def test_a_bid_of_exactly_the_reserve_price_takes_part() -> None:
    assert auction([0.5], [0.1], reserve_price=0.5).winner_K.tolist() == [0]


def test_when_nobody_reaches_the_reserve_price_nobody_wins() -> None:
    found = auction([0.1, 0.2], [0.5, 0.5], reserve_price=1.0, second_prices=True)
    assert (found.winner_K.tolist(), found.ecpm_K.tolist(), found.num_below_reserve) == ([], [], 2)
    assert found.price_K is not None and found.price_K.tolist() == []


def test_a_tie_costs_the_whole_bid_and_request_order_decides() -> None:
    found = auction([1.0, 2.0], [0.2, 0.1], second_prices=True)
    assert found.winner_K.tolist() == [0, 1]
    assert found.price_K == pytest.approx([1.0, 0.0])


def test_a_ctr_of_zero_costs_the_reserve_price() -> None:
    found = auction([1.0, 3.0], [0.0, 0.0], reserve_price=0.25, second_prices=True)
    assert found.price_K is not None and found.price_K.tolist() == [0.25, 0.25]


def test_without_second_prices_there_are_no_prices() -> None:
    assert auction([1.0], [0.5]).price_K is None


@given(bidders, reserves, st.integers(1, 14))
def test_top_k_is_the_beginning_of_the_whole_auction(
    sent: list[tuple[float, float]], reserve_price: float, top_k: int
) -> None:
    bids, ctrs = [bid for bid, _ in sent], [ctr for _, ctr in sent]
    whole = auction(bids, ctrs, reserve_price=reserve_price, second_prices=True)
    best = auction(bids, ctrs, reserve_price=reserve_price, second_prices=True, top_k=top_k)
    assert whole.price_K is not None and best.price_K is not None
    assert best.winner_K.tolist() == whole.winner_K.tolist()[:top_k]
    assert best.price_K.tolist() == whole.price_K.tolist()[:top_k]


@given(bidders, reserves)
def test_nobody_pays_more_than_the_bid_or_less_than_the_reserve_price(
    sent: list[tuple[float, float]], reserve_price: float
) -> None:
    bids, ctrs = [bid for bid, _ in sent], [ctr for _, ctr in sent]
    found = auction(bids, ctrs, reserve_price=reserve_price, second_prices=True)
    assert found.price_K is not None
    for winner, price in zip(found.winner_K.tolist(), found.price_K.tolist(), strict=True):
        assert reserve_price <= price <= bids[winner]


@given(bidders, reserves, st.data())
def test_a_winner_who_bids_less_than_the_price_loses_the_place(
    sent: list[tuple[float, float]], reserve_price: float, data: st.DataObject
) -> None:
    """The price is the lowest bid that keeps the place: a second way to work it out, by holding the auction again."""
    bids, ctrs = [bid for bid, _ in sent], [ctr for _, ctr in sent]
    before = auction(bids, ctrs, reserve_price=reserve_price, second_prices=True)
    assert before.price_K is not None
    assume(before.price_K.max(initial=0.0) > 0)
    place = data.draw(st.integers(0, len(before.winner_K) - 1))
    winner, price = int(before.winner_K[place]), float(before.price_K[place])
    assume(price > 0)  # a price of 0 means a tie at eCPM 0, which request order decides
    for factor, keeps in ((1 + 1e-9, True), (1 - 1e-6, False)):
        again = list(bids)
        again[winner] = price * factor
        order = auction(again, ctrs, reserve_price=reserve_price).winner_K.tolist()
        if keeps:
            assert order.index(winner) <= place
        else:
            assert winner not in order[: place + 1]


def test_prices_are_of_those_who_took_part_in_their_order() -> None:
    price_K = generalised_second_prices(np.array([4.0, 2.0, 2.0]), np.array([0.5, 0.5, 0.25]))
    assert price_K.tolist() == [2.0, 1.0, 0.0]
