"""The replay command: from two bundles and a log to figures, on the screen and as JSON."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.console import Console

from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.staging import write_whole
from dinrank.training.data.dataset import Dataset, read_dataset
from dinrank.training.errors import ReplayError
from dinrank.training.fit.progress import counted_progress
from dinrank.training.replay.assumptions import state_assumptions
from dinrank.training.replay.estimate import CONFIDENCE, Comparison, compare
from dinrank.training.replay.outcomes import AuctionRules, Outcomes, replay_auctions
from dinrank.training.replay.scoring import known_share, score_slates
from dinrank.training.replay.show import show
from dinrank.training.replay.slates import Slates, make_slates

BID_COLUMN = "bid"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Options of a replay.

    Attributes:
        bundle, against: A and B; differences are A - B.
        bids: column of impressions.parquet; None for `bid` if there is one, else bids of 1.
        window: number of consecutive impressions of a user that compete; None to let the log decide.
        resamples: bootstrap samples.
    """

    data: Path
    bundle: Path
    against: Path
    rules: AuctionRules
    split: str
    bids: str | None
    window: int | None
    resamples: int
    seed: int


def replay(options: ReplayOptions, console: Console) -> dict[str, Any]:
    """Compare two bundles on a log, print the figures and their assumptions; return both as a JSON document.

    Raises:
        DatasetError: the data set cannot be read.
        ParityError: a bundle does not reproduce its golden answers.
        ReplayError: a bundle cannot be opened, or the log or the bundles do not allow it.
    """
    a, b = _open(options.bundle), _open(options.against)
    dataset = read_dataset(options.data)
    bid, bid_column = _bids(dataset, options.bids)
    slates = make_slates(
        dataset.impressions,
        options.split,
        slots=options.rules.slots,
        window=options.window,
        rng=np.random.default_rng(options.seed),
    )
    clicked_N = dataset.impressions["clicked"].to_numpy()[slates.rows_N]
    if not clicked_N.any():
        raise ReplayError(
            f"none of the {len(slates.rows_N):,} impressions in slates of the split {options.split} was clicked, so "
            "there is nothing to tell rankings apart: replay a longer log or another --split"
        )
    known = _known_share(a, dataset, slates), _known_share(b, dataset, slates)
    with counted_progress(console, "replaying", unit="slates", total=2 * len(slates)) as advance:
        outcome_a, outcome_b = (
            _outcomes(bundle, dataset, slates, bid[slates.rows_N], clicked_N, options.rules, advance)
            for bundle in (a, b)
        )
    with console.status(f"drawing the users {options.resamples:,} times"):
        comparison = compare(outcome_a, outcome_b, slates.user_S, resamples=options.resamples, seed=options.seed)
    assumptions = state_assumptions(
        dataset,
        slates,
        options.rules,
        bid_column,
        bundles=(a, b),
        split=options.split,
        resamples=options.resamples,
    )
    show(console, (a, b), known, comparison, slates, assumptions)
    return _document(options, (a, b), known, comparison, slates, bid_column, assumptions)


def write_json(file: Path, document: dict[str, Any]) -> None:
    """Write JSON; missing folders are created."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_whole(file, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _open(path: Path) -> Bundle:
    """Open a bundle; add its path to errors, which name only the file within it."""
    try:
        return open_bundle(path)
    except BundleError as exc:
        raise ReplayError(f"{path} is no bundle that can be replayed: {exc}; train or copy it again") from exc


def _known_share(bundle: Bundle, dataset: Dataset, slates: Slates) -> float:
    share = known_share(bundle, dataset, slates)
    if share == 0.0:
        raise ReplayError(
            f"{bundle.path} knows none of the items in the slates of {dataset.name}: replay a log of the items that it "
            "was trained on; are ids spelled alike?"
        )
    return share


def _outcomes(
    bundle: Bundle,
    dataset: Dataset,
    slates: Slates,
    bid_N: NDArray[np.float64],
    clicked_N: NDArray[np.bool_],
    rules: AuctionRules,
    advance: Callable[[int], None],
) -> Outcomes:
    ctr_N = score_slates(bundle, dataset, slates, on_slates=advance)
    return replay_auctions(slates, ctr_N, bid_N=bid_N, clicked_N=clicked_N, rules=rules)


def _bids(dataset: Dataset, column: str | None) -> tuple[NDArray[np.float64], str | None]:
    """Return the bid of every impression of the data set, and its column; None when all bids are 1.

    Raises:
        ReplayError: the column is missing or holds an invalid bid.
    """
    name = column or BID_COLUMN
    if name not in dataset.impressions.columns:
        if column is None:
            return np.ones(len(dataset.impressions)), None
        raise ReplayError(
            f"impressions.parquet has no column {column} for --bids; it has {', '.join(dataset.impressions.columns)}"
        )
    bids = dataset.impressions[name]
    if not bids.dtype.is_numeric():
        raise ReplayError(f"the bids in column {name} of impressions.parquet must be numbers, not {bids.dtype}")
    bid = bids.cast(pl.Float64).fill_null(np.nan).to_numpy()
    wrong = np.flatnonzero(~((bid >= 0.0) & np.isfinite(bid)))
    if len(wrong):
        raise ReplayError(
            f"impressions.parquet, row {wrong[0] + 1}: {bids[int(wrong[0])]} in column {name} is no bid; a bid is a "
            f"number of 0 or more. {len(wrong):,} rows are like this: fix them or name another column with --bids"
        )
    return bid, name


def _document(
    options: ReplayOptions,
    bundles: tuple[Bundle, Bundle],
    known: tuple[float, float],
    comparison: Comparison,
    slates: Slates,
    bid_column: str | None,
    assumptions: list[str],
) -> dict[str, Any]:
    described = [
        {
            "path": str(bundle.path),
            "model": bundle.manifest.model_name,
            "version": bundle.manifest.model_version,
            "known_share": share,
        }
        for bundle, share in zip(bundles, known, strict=True)
    ]
    return {
        "data": str(options.data),
        "split": options.split,
        "bundle": described[0],
        "against": described[1],
        "slots": options.rules.slots,
        "price": "second" if options.rules.second_prices else "first",
        "reserve": options.rules.reserve_price,
        "bids": bid_column,
        "slates": {
            "rule": slates.rule.value,
            "window": slates.window,
            "count": len(slates),
            "users": slates.num_users,
            "impressions": len(slates.rows_N),
            "impressions_of_the_split": slates.num_logged,
        },
        "bootstrap": {
            "over": "users",
            "resamples": options.resamples,
            "seed": options.seed,
            "confidence": CONFIDENCE,
        },
        "figures": comparison.to_json(),
        "assumptions": assumptions,
    }
