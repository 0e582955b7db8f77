"""Resuming a run: the files that an earlier process left beside its bundle, and the remaining work."""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dinrank.model.bundle.activations import WEIGHTS_FILE
from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.reader import open_bundle
from dinrank.training.errors import CheckpointError
from dinrank.training.fit.checkpoint import MAY_CHANGE, Checkpoint, checkpoint_path, differences
from dinrank.training.report.page import write_html_report
from dinrank.training.report.report import html_report_path, report_path

_ROUNDING = 1e-3  # of a metric: rounding differs between thread counts and versions


def require_a_beginning(out: Path) -> None:
    """Refuse to start if there is output already.

    Raises:
        CheckpointError: a checkpoint is there.
        FileExistsError: a bundle is there.
    """
    checkpoint = checkpoint_path(out)
    if checkpoint.exists():
        raise CheckpointError(
            f"{checkpoint} exists, left by a training that did not end: go on from it with --resume, or delete it"
        )
    if out.exists():
        raise FileExistsError(f"{out} exists; a bundle is never overwritten: choose another --out or remove it")


def finished_report(out: Path, identity: Mapping[str, Any], *, with_table: bool) -> dict[str, Any] | None:
    """Return the report of a finished run, whose bundle is there and whose checkpoint is gone; else None.

    A missing HTML page is drawn from the report.

    Raises:
        FileExistsError: the bundle of another run, or of one that left no report.
    """
    if not out.exists() or checkpoint_path(out).exists():
        return None
    report = _read_report(out)
    found = {**report, "dataset": report.get("dataset_sha256"), "table": (out / WEIGHTS_FILE).exists()}
    wanted = {name: value for name, value in identity.items() if name not in MAY_CHANGE} | {"table": with_table}
    if differing := list(differences({name: found.get(name) for name in wanted}, json.loads(json.dumps(wanted)))):
        raise FileExistsError(
            f"{out} exists and is of another run: {'; '.join(differing)}. "
            "A bundle is never overwritten: choose another --out or remove it"
        )
    page = html_report_path(out)
    if not page.exists():
        write_html_report(page, report)
    return report


def _read_report(out: Path) -> dict[str, Any]:
    try:
        report: dict[str, Any] = json.loads(report_path(out).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError) as exc:
        raise FileExistsError(
            f"{out} exists; no readable {report_path(out).name} beside it says of which run. "
            "A bundle is never overwritten: choose another --out or remove it"
        ) from exc
    return report


def own_bundle(
    out: Path, *, model_name: str, training: Mapping[str, Any], metrics: Mapping[str, Any], with_table: bool
) -> Manifest:
    """Return the manifest of the bundle that this run wrote before it was killed.

    Raises:
        CheckpointError: it is damaged, or another run's.
    """
    try:
        bundle = open_bundle(out)
    except BundleError as exc:
        raise CheckpointError(f"{out} cannot be trusted, remove it: {exc}") from exc
    manifest = bundle.manifest
    found = {
        "model_name": manifest.model_name,
        "training": _trained(manifest.training),
        "table": bundle.table is not None,
    }
    wanted = {"model_name": model_name, "training": _trained(training), "table": with_table}
    differing = list(differences(found, json.loads(json.dumps(wanted))))
    differing += [
        f"{split} {name} is {there[name]} there and {value} here"
        for split, values in metrics.items()
        for there in [manifest.metrics.get(split, {})]
        for name, value in values.items()
        if name in there and not math.isclose(there[name], value, abs_tol=_ROUNDING)
    ]
    if differing:
        raise CheckpointError(
            f"{out} is of another run than {checkpoint_path(out)}: {'; '.join(differing)}. Remove one of them"
        )
    return manifest


def _trained(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training's origin, without that of its export."""
    return {name: value for name, value in training.items() if name != "exported_with"}


@contextmanager
def kept(checkpoint: Checkpoint) -> Iterator[None]:
    """Add to any failure after a finished training that nothing of it is lost, and how to resume."""
    try:
        yield
    except Exception as exc:
        exc.add_note(
            f"The training is finished and kept in {checkpoint.path}: when this is fixed, or with another version of "
            "dinrank, the same command with --resume goes on from there"
        )
        raise
