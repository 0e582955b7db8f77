"""Expected revenue, the order of candidates, and the price of a click; pure functions.

Trainer and service share them: what `training replay` estimates is what the service does.

Legend: C = candidates, in request order; K = those that win a place, best first.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Auction:
    """Result of one auction.

    Attributes:
        winner_K: positions of the winners, best first.
        ecpm_K: their eCPM.
        price_K: what a click costs each of them; None where they pay what they bid.
        num_below_reserve: candidates that bid less than the reserve price and could not win.
    """

    winner_K: Positions
    ecpm_K: Floats
    price_K: Floats | None
    num_below_reserve: int


def hold_auction(
    bid_C: Floats, ctr_C: Floats, *, reserve_price: float = 0.0, top_k: int | None = None, second_prices: bool = False
) -> Auction:
    """Order the candidates by eCPM; equal ones stay in request order.

    Args:
        reserve_price: least price of a click; lower bids take no part.
        top_k: number of places; None for one per candidate.
        second_prices: whether winners pay the generalised second price instead of their bid.
    """
    ecpm_C = ecpm(bid_C, ctr_C)
    (taking_part,) = (bid_C >= reserve_price).nonzero()
    order = taking_part[order_by_ecpm(ecpm_C[taking_part])]
    winner_K = order[:top_k]
    price_K = None
    if second_prices:
        # Over all participants: the winner of the last place pays for the candidate just below it.
        price_K = generalised_second_prices(bid_C[order], ctr_C[order], reserve_price=reserve_price)[:top_k]
    return Auction(winner_K, ecpm_C[winner_K], price_K, num_below_reserve=len(bid_C) - len(order))


def ecpm(bid_C: Floats, ctr_C: Floats) -> Floats:
    """Expected revenue of one impression, in the bid's currency (times 1000 it is "per mille").

    >>> ecpm(np.array([0.5, 2.0]), np.array([0.25, 0.125])).tolist()
    [0.125, 0.25]
    """
    return bid_C * ctr_C


def order_by_ecpm(ecpm_C: Floats) -> Positions:
    """Positions of the candidates, highest eCPM first; equal ones stay in request order.

    >>> order_by_ecpm(np.array([0.1, 0.3, 0.1, 0.2])).tolist()
    [1, 3, 0, 2]
    """
    return (-ecpm_C).argsort(kind="stable")


def generalised_second_prices(bid_K: Floats, ctr_K: Floats, *, reserve_price: float = 0.0) -> Floats:
    """Return the lowest bid that keeps each place: eCPM of the next / own CTR, at least the reserve price.

    Nobody pays more than the bid, and the last pays the reserve price. A tie costs the whole bid. A candidate
    with CTR 0 keeps its place with any bid.

    Args:
        bid_K, ctr_K: of all who took part, by eCPM, highest first; no bid is below the reserve price.

    Source: Edelman, Ostrovsky and Schwarz, "Internet Advertising and the Generalized Second-Price Auction", American
        Economic Review 2007; with bids weighted by CTR as in Varian, "Position auctions", 2007, section 3.

    >>> generalised_second_prices(np.array([2.0, 1.0]), np.array([0.1, 0.1]), reserve_price=0.25).round(9).tolist()
    [1.0, 0.25]
    """
    next_ecpm_K = np.zeros_like(bid_K)
    next_ecpm_K[:-1] = ecpm(bid_K[1:], ctr_K[1:])
    keeping_K = np.divide(next_ecpm_K, ctr_K, out=np.zeros_like(bid_K), where=ctr_K > 0)
    return np.minimum(bid_K, np.maximum(keeping_K, reserve_price))  # the quotient may exceed the bid by its rounding
