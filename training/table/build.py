"""Compute an activation table with the stages of its bundle."""

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from dinrank.model.bundle.activations import (
    ABSENT,
    COLUMNS_FILE,
    COVERAGE_FILE,
    LINES_FILE,
    TABLE_FILES,
    WEIGHTS_FILE,
    ActivationTable,
)
from dinrank.model.bundle.catalogue import Catalogue
from dinrank.model.bundle.stages import StagedGraph
from dinrank.training.table.plan import Rows, TablePlan

_LINES_AT_ONCE = 64


# Legend: A = ads of the table, B = items of its behaviours, R = catalogue rows, D = item width.
def build_table(
    directory: Path,
    plan: TablePlan,
    *,
    stages: StagedGraph,
    catalogue: Catalogue,
    on_pairs: Callable[[int], None] = lambda pairs: None,
) -> ActivationTable:
    """Compute the weights of all planned pairs and write the table's files under `directory`.

    One thread per core that torch may use. The same bundle and plan give the same bytes, whatever the threads.

    Args:
        on_pairs: called with the number of pairs done since it was last called.
    """
    files = {name: directory / name for name in TABLE_FILES}
    files[WEIGHTS_FILE].parent.mkdir(parents=True)
    ads_AD, items_BD = (stages.item_vectors(catalogue.features(rows)) for rows in (plan.ad_rows_A, plan.item_rows_B))
    weights_AB = np.lib.format.open_memmap(
        files[WEIGHTS_FILE], mode="w+", dtype=np.float32, shape=(len(ads_AD), len(items_BD))
    )
    _reserve(files[WEIGHTS_FILE])

    def compute(first: int) -> int:
        lines = slice(first, first + _LINES_AT_ONCE)
        weights_AB[lines] = stages.pair_weights(ads_AD[lines], items_BD)
        return int(weights_AB[lines].size)

    with ThreadPoolExecutor(torch.get_num_threads()) as executor:
        for num_pairs in executor.map(compute, range(0, len(ads_AD), _LINES_AT_ONCE)):
            on_pairs(num_pairs)
    weights_AB.flush()
    places = {
        LINES_FILE: _places(plan.ad_rows_A, catalogue.num_rows),
        COLUMNS_FILE: _places(plan.item_rows_B, catalogue.num_rows),
    }
    for name, place_R in places.items():
        np.save(files[name], place_R, allow_pickle=False)
    coverage = {
        "ads": len(ads_AD),
        "items": len(items_BD),
        "bytes": plan.num_bytes,
        "training_impressions_covered": plan.ads_covered,
        "training_behaviours_covered": plan.behaviours_covered,
    }
    files[COVERAGE_FILE].write_text(json.dumps(coverage, indent=1) + "\n", encoding="utf-8")
    return ActivationTable(np.asarray(weights_AB), places[LINES_FILE], places[COLUMNS_FILE])


def _places(rows: Rows, num_rows: int) -> NDArray[np.int32]:
    place_R = np.full(num_rows, ABSENT, dtype=np.int32)
    place_R[rows] = np.arange(len(rows))
    return place_R


def _reserve(path: Path) -> None:
    """Allocate the file on the disk up front: a write to mapped memory on a full disk kills the process.

    Raises:
        OSError: there is not enough room.
    """
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
