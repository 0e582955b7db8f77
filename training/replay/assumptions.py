"""What a replay's figures rest on, in sentences that are printed with them."""

from dataclasses import dataclass

from training.data.dataset import Dataset
from training.data.split import HISTORY, TRAIN, VALID
from training.replay.outcomes import AuctionRules
from training.replay.slates import SlateRule, Slates

FEW_USERS = 100  # below so many an interval by resampling users is rough


@dataclass(frozen=True, slots=True)
class BidSource:
    """Attributes:
    column: of impressions.parquet; None when all bids are 1.
    """

    column: str | None


def state_assumptions(
    dataset: Dataset, slates: Slates, rules: AuctionRules, bids: BidSource, *, split: str, resamples: int
) -> list[str]:
    """One sentence or two each; first what holds of every replay, then what is special in this one."""
    return [
        "A click depends on the user and the ad alone: not on the ad's position, the other ads, or who showed it. What "
        "was clicked in the log counts as clicked wherever either bundle shows it.",
        "Only what was logged can be shown. The log holds what the policy of that time chose to show; of ads that it "
        "never showed, nothing is known, and a ranking that would find better ones is not rewarded.",
        _how_slates_were_made(slates, rules),
        "Each slate is one request at the moment of its earliest impression: its history is what the user did strictly "
        "before, its context is that impression's. Equal eCPMs are ordered at random, the same for both.",
        _bids(bids, rules),
        f"Intervals are from {resamples:,} bootstrap samples of the {slates.num_users:,} users. They say how much the "
        "figures depend on which users were logged, not whether the sentences above hold.",
        *_warnings(dataset, slates, split),
    ]


def _how_slates_were_made(slates: Slates, rules: AuctionRules) -> str:
    how = {
        SlateRule.MOMENT: "impressions of a user with the same timestamp",
        SlateRule.WINDOW: f"{slates.window} consecutive impressions of a user, which were not shown together",
        SlateRule.USER: "all impressions of a user in the split, which were not shown together, because the log has no "
        "larger groups of a user and a timestamp; --window N makes smaller slates",
    }[slates.rule]
    left_out = slates.num_logged - len(slates.rows_N)
    return (
        f"A slate is {how}. Only slates with more candidates than the {rules.slots} shown tell rankings apart, which "
        f"leaves out {left_out:,} of {slates.num_logged:,} impressions."
    )


def _bids(bids: BidSource, rules: AuctionRules) -> str:
    if bids.column is None:
        source = "There are no bids in the log: every bid is 1, the order is by CTR"
        source += "" if rules.second_prices else " and revenue is the number of clicks"
    else:
        source = f"Bids are those in the column {bids.column}, and would be the same whoever ranks"
    price = (
        "a click pays the generalised second price, which depends on the CTRs of the bundle that ranks"
        if rules.second_prices
        else "a click pays the bid"
    )
    reserve = f"; who bids less than {rules.reserve_price:g} takes no part" if rules.reserve_price else ""
    return f"{source}; {price}{reserve}."


def _warnings(dataset: Dataset, slates: Slates, split: str) -> list[str]:
    warnings = []
    if split in (TRAIN, VALID, HISTORY):
        warnings.append(
            f"The split is {split}, which a bundle of this data set was trained or tuned on: figures of a bundle that "
            "has seen these rows are too good. Use test."
        )
    if dataset.negative_sampling_rate < 1.0:
        warnings.append(
            f"The data set kept {dataset.negative_sampling_rate:.1%} of the not-clicked impressions: clicks per slate "
            "are higher than in the traffic, and Σctr/Σclicks is lower, because CTRs are those of all impressions."
        )
    if slates.num_users < FEW_USERS:
        warnings.append(f"{slates.num_users} users are few: the intervals are rough, and tend to be too narrow.")
    return warnings
