"""Scoring alone, on one core, in a subprocess that takes its effort from the command line.

Prints one JSON document; progress goes to stderr.
"""

import json
import logging
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bench.serving.dataset import Traffic
from bench.serving.material import Material, make_material
from bench.serving.networks import RowPerCandidate, repeat_history
from bench.serving.setting import (
    EAGER,
    EAGER_ONCE,
    FULL,
    LONG,
    ONE_GRAPH,
    ORT,
    PLAIN,
    PRODUCTS,
    QUICK,
    SEED,
    SHORT,
    TABLE,
    VERY_LONG,
    Effort,
    Shape,
)
from bench.serving.subjects import (
    ActivationTable,
    EagerOnce,
    EagerRepeated,
    MatrixProducts,
    OneGraph,
    OnnxRepeated,
    PlainGraph,
    Subject,
)
from bench.serving.timing import compare
from dinrank.model.nets.din import DIN
from dinrank.model.nets.names import NetworkName

_NUM_REQUESTS = 4


def main() -> None:
    effort = {"full": FULL, "quick": QUICK}[sys.argv[1]]
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns about missing torchvision
    with tempfile.TemporaryDirectory() as directory:
        print(json.dumps(measure(effort, Path(directory))))  # noqa: T201 the answer


def measure(effort: Effort, directory: Path) -> list[dict[str, Any]]:
    """Run one comparison per network and shape."""
    _say("networks and bundles")
    din = make_material(directory / "din", NetworkName.DIN, SHORT, max_behaviours=VERY_LONG.num_behaviours)
    comparisons = []
    for shape, subjects in _din_subjects(directory).items():
        comparisons.append(_compare("din", din, shape, subjects, effort))
    for name in (NetworkName.DIEN, NetworkName.DEEPFM):
        material = make_material(directory / name, name, SHORT, max_behaviours=SHORT.num_behaviours)
        comparisons.append(_compare(name, material, SHORT, _other_subjects(name, directory / name), effort))
    return comparisons


def _din_subjects(directory: Path) -> dict[Shape, dict[str, Subject]]:
    """List DIN's subjects. At the greatest length [C, T, 4D] takes 20 GB in PyTorch, and the plain graph gigabytes."""
    return {
        SHORT: {
            PRODUCTS: MatrixProducts(SHORT),
            TABLE: ActivationTable(),
            PLAIN: PlainGraph(),
            ONE_GRAPH: OneGraph(),
            ORT: OnnxRepeated(_rows_din, directory),
            EAGER: EagerRepeated(_rows_din),
        },
        LONG: {
            PRODUCTS: MatrixProducts(LONG),
            TABLE: ActivationTable(),
            PLAIN: PlainGraph(),
            EAGER: EagerRepeated(_rows_din),
        },
        VERY_LONG: {TABLE: ActivationTable()},
    }


def _other_subjects(name: NetworkName, directory: Path) -> dict[str, Subject]:
    subjects: dict[str, Subject] = {
        PLAIN: PlainGraph(),
        EAGER_ONCE: EagerOnce(),
        EAGER: EagerRepeated(_row_per_candidate),
    }
    if name is not NetworkName.DIEN:  # its recurrence is exported for one user only
        subjects[ORT] = OnnxRepeated(_row_per_candidate, directory)
    return subjects


def _rows_din(material: Material) -> nn.Module:
    assert isinstance(material.network, DIN)
    return repeat_history(material.network)


def _row_per_candidate(material: Material) -> nn.Module:
    return RowPerCandidate(material.network)


def _compare(
    network: str, material: Material, shape: Shape, subjects: Mapping[str, Subject], effort: Effort
) -> dict[str, Any]:
    _say(f"{network}, {shape}")
    traffic = Traffic(seed=SEED + 1)
    requests = [traffic.scoring_request(shape.num_behaviours) for _ in range(_NUM_REQUESTS)]
    witnesses = {PLAIN: PlainGraph()} if shape == VERY_LONG else {}  # timing it would take minutes
    rounds = effort.rounds[shape.num_behaviours]
    comparison = compare(subjects, material, requests, rounds=rounds, witnesses=witnesses)
    table = subjects.get(TABLE)
    looked_up = table.looked_up if isinstance(table, ActivationTable) else None
    return {"network": network, "shape": asdict(shape), **asdict(comparison), "looked_up": looked_up}


def _say(what: str) -> None:
    print(f"scoring: {what}", file=sys.stderr)  # noqa: T201


if __name__ == "__main__":
    main()
