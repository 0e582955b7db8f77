"""Outcomes of a bundle's ranking: the logged labels of the ads that it would have shown."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.auction import hold_auction
from dinrank.training.replay.slates import Slates

Floats = NDArray[np.float64]
EMPTY_SLOT = -1


@dataclass(frozen=True, slots=True)
class AuctionRules:
    """Attributes:
    slots: ads shown per slate.
    reserve_price: least price of a click; lower bids take no part.
    second_prices: whether winners pay the generalised second price instead of their bid.
    """

    slots: int = 1
    reserve_price: float = 0.0
    second_prices: bool = False


# Legend: N = impressions of all slates, S = slates, K = slots.
@dataclass(frozen=True, slots=True)
class Outcomes:
    """By slate, of one bundle.

    Attributes:
        clicks_S: logged clicks of the shown impressions.
        revenue_S: revenue from these clicks.
        expected_clicks_S: the CTRs of the shown impressions, summed.
        shown_SK: positions in `slates.rows_N` in ascending order, EMPTY_SLOT first.
    """

    clicks_S: Floats
    revenue_S: Floats
    expected_clicks_S: Floats
    shown_SK: NDArray[np.int64]


def replay_auctions(
    slates: Slates, ctr_N: Floats, *, bid_N: Floats, clicked_N: NDArray[np.bool_], rules: AuctionRules
) -> Outcomes:
    """Hold an auction in every slate.

    Args:
        ctr_N, bid_N, clicked_N: of the impressions in `slates.rows_N`.
    """
    num_slates = len(slates)
    clicks_S, revenue_S, expected_clicks_S = np.zeros((3, num_slates))
    shown_SK = np.full((num_slates, rules.slots), EMPTY_SLOT, dtype=np.int64)
    for slate in range(num_slates):
        candidates = slates.of(slate)
        auction = hold_auction(
            bid_N[candidates],
            ctr_N[candidates],
            reserve_price=rules.reserve_price,
            top_k=rules.slots,
            second_prices=rules.second_prices,
        )
        shown_K = auction.winner_K + candidates.start
        clicked_K = clicked_N[shown_K]
        price_K = bid_N[shown_K] if auction.price_K is None else auction.price_K
        clicks_S[slate] = clicked_K.sum()
        revenue_S[slate] = price_K[clicked_K].sum()
        expected_clicks_S[slate] = ctr_N[shown_K].sum()
        shown_SK[slate, rules.slots - len(shown_K) :] = np.sort(shown_K)
    return Outcomes(clicks_S, revenue_S, expected_clicks_S, shown_SK)
