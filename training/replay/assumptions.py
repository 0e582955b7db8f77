"""Assumptions behind a replay's figures, printed with them."""

from collections.abc import Mapping

from dinrank.model.bundle.reader import Bundle
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.split import HISTORY, TRAIN, VALID
from dinrank.training.replay.outcomes import AuctionRules
from dinrank.training.replay.slates import SlateRule, Slates

FEW_USERS = 100  # below this many users a bootstrap interval is rough


def state_assumptions(
    dataset: Dataset,
    slates: Slates,
    rules: AuctionRules,
    bid_column: str | None,
    *,
    bundles: tuple[Bundle, Bundle],
    split: str,
    resamples: int,
) -> list[str]:
    """Return the assumptions, one or two sentences each: first those of every replay, then those of this one.

    Args:
        bid_column: None when all bids are 1.
    """
    return [
        "A click depends on the user and the ad alone: not on the ad's position, the other ads, or who showed it. What "
        "was clicked in the log counts as clicked wherever either bundle shows it.",
        "Only what was logged can be shown. The log holds what the policy of that time chose to show; of ads that it "
        "never showed, nothing is known, and a ranking that would find better ones is not rewarded.",
        _how_slates_were_made(slates, rules),
        "Each slate is one request at the moment of its earliest impression: its history is what the user did strictly "
        "before, its context is that impression's; profiles and attributes of ads are those of the data set. Equal "
        "eCPMs are ordered at random, the same for both.",
        _bids(bid_column, rules),
        f"Intervals are from {resamples:,} bootstrap samples of the {slates.num_users:,} users. They say how much the "
        "figures depend on which users were logged, not whether the sentences above hold.",
        *_other_data(dataset, bundles),
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


def _bids(column: str | None, rules: AuctionRules) -> str:
    if column is None:
        source = "There are no bids in the log: every bid is 1, the order is by CTR"
        source += "" if rules.second_prices else " and revenue is the number of clicks"
    else:
        source = f"Bids are those in the column {column}, and would be the same whoever ranks"
    price = (
        "a click pays the generalised second price, which depends on the CTRs of the bundle that ranks"
        if rules.second_prices
        else "a click pays the bid"
    )
    reserve = f"; who bids less than {rules.reserve_price:g} takes no part" if rules.reserve_price else ""
    return f"{source}; {price}{reserve}."


def _other_data(dataset: Dataset, bundles: tuple[Bundle, Bundle]) -> list[str]:
    """Warn about another data set instead of refusing it: it may have been renamed."""
    warnings = []
    for letter, bundle in zip("AB", bundles, strict=True):
        trained_on = bundle.manifest.training.get("dataset")
        name = trained_on.get("name") if isinstance(trained_on, Mapping) else trained_on
        if name != dataset.name:
            warnings.append(
                f"{letter} was trained on a data set called {name}, and this one is called {dataset.name}: equal ids "
                "must mean the same users and items in both."
            )
    return warnings


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
