"""Plan an activation table: choose the ads and behaviour items that fit its memory."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dinrank.model.bundle.catalogue import FIRST_ROW, PADDING_ROW, UNKNOWN_ROW, Catalogue
from dinrank.training.data.behaviours import count_in_windows, find_windows
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.split import TRAIN
from dinrank.training.errors import TableError

Rows = NDArray[np.int64]

_BYTES_PER_PAIR = 4


# Legend: R = catalogue rows, A = ads of the table, B = items of its behaviours.
@dataclass(frozen=True, slots=True)
class TrainingCounts:
    """Attributes:
    ads_R: how many training impressions show the item of each catalogue row.
    behaviours_R: in how many of these impressions' histories it occurs, repetitions counted.
    """

    ads_R: Rows
    behaviours_R: Rows


def training_counts(dataset: Dataset, catalogue: Catalogue) -> TrainingCounts:
    """Count in the training rows. Items not in the catalogue count as the unknown one."""
    is_train = (dataset.impressions["split"] == TRAIN).to_numpy()
    windows = find_windows(dataset.impressions, dataset.behaviours, max_behaviours=dataset.max_behaviours)
    return TrainingCounts(
        ads_R=_counts(catalogue, dataset.impressions["item_id"].to_list(), is_train.astype(np.int64)),
        behaviours_R=_counts(
            catalogue, dataset.behaviours["item_id"][windows.order_B].to_list(), count_in_windows(windows, is_train)
        ),
    )


def _counts(catalogue: Catalogue, item_ids: Sequence[str], times: Rows) -> Rows:
    rows = catalogue.rows(item_ids)
    return np.bincount(rows, weights=times, minlength=catalogue.num_rows).astype(np.int64)


@dataclass(frozen=True, slots=True)
class TablePlan:
    """Attributes:
    ad_rows_A, item_rows_B: catalogue rows, the most frequent first; the unknown item is among both, so that items
        without any known attribute are covered too.
    ads_covered, behaviours_covered: their share of the training rows.
    """

    ad_rows_A: Rows
    item_rows_B: Rows
    ads_covered: float
    behaviours_covered: float

    @property
    def num_pairs(self) -> int:
        return len(self.ad_rows_A) * len(self.item_rows_B)

    @property
    def num_bytes(self) -> int:
        return self.num_pairs * _BYTES_PER_PAIR


def plan_table(counts: TrainingCounts, *, memory_bytes: int, ads: Rows | None = None) -> TablePlan:
    """Choose the lines and columns that cover most pairs of a training impression and one of its behaviours.

    Args:
        memory_bytes: upper bound for the table of weights.
        ads: catalogue rows of the active ads; None for the most frequent ones.

    Raises:
        TableError: not even the ads asked for and one item fit.
    """
    item_order, covered_by_items = _by_frequency(counts.behaviours_R)
    if ads is None:
        ad_order, covered_by_ads = _by_frequency(counts.ads_R)
    else:
        wanted = np.unique(np.concatenate([[UNKNOWN_ROW], ads[ads >= FIRST_ROW]]))
        order, _ = _by_frequency(counts.ads_R)
        ad_order = order[np.isin(order, wanted)]
        covered_by_ads = np.cumsum(counts.ads_R[ad_order]) / max(counts.ads_R.sum(), 1)
    num_pairs = memory_bytes // _BYTES_PER_PAIR
    least_ads = 1 if ads is None else len(ad_order)
    if num_pairs < least_ads:
        raise TableError(
            f"{least_ads * _BYTES_PER_PAIR:,} bytes are needed for {least_ads:,} ads and a single item, "
            f"{memory_bytes:,} are allowed: name fewer ads or allow more memory"
        )
    num_ads_options = np.arange(least_ads, min(len(ad_order), num_pairs) + 1)
    num_items_options = np.minimum(num_pairs // num_ads_options, len(item_order))
    covered = covered_by_ads[num_ads_options - 1] * covered_by_items[num_items_options - 1]
    best = len(covered) - 1 - int(np.argmax(covered[::-1]))  # among ties the one with most ads: new ones will come
    num_ads, num_items = int(num_ads_options[best]), int(num_items_options[best])
    return TablePlan(
        ad_rows_A=ad_order[:num_ads],
        item_rows_B=item_order[:num_items],
        ads_covered=float(covered_by_ads[num_ads - 1]),
        behaviours_covered=float(covered_by_items[num_items - 1]),
    )


def _by_frequency(counts_R: Rows) -> tuple[Rows, NDArray[np.float64]]:
    """Sort all rows but padding, the unknown one first, then by descending count; with the cumulative share."""
    known = np.arange(FIRST_ROW, len(counts_R))
    order = np.concatenate([[UNKNOWN_ROW], known[np.argsort(-counts_R[FIRST_ROW:], kind="stable")]])
    total = counts_R.sum() - counts_R[PADDING_ROW]
    return order, np.cumsum(counts_R[order]) / max(total, 1)


_UNITS = {"": 1, "B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": 1024, "MIB": 1024**2, "GIB": 1024**3}

_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Bytes of `512MB`, `2 GiB` or `1000000`.

    Raises:
        ValueError: anything else, or less than one byte.

    >>> parse_size("1.5 kB"), parse_size("2MiB")
    (1500, 2097152)
    """
    match = _SIZE.fullmatch(text)
    unit = match[2].upper() if match else None
    if match is None or unit not in _UNITS or float(match[1]) * _UNITS[unit] < 1:
        raise ValueError(f"{text!r} is no size; write 512MB or 2GB for instance")
    return int(float(match[1]) * _UNITS[unit])
