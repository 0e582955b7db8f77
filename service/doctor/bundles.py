"""Checks of the bundles: verification and age."""

import time
from pathlib import Path

from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.manifest import MANIFEST_FILE
from dinrank.service.commands.remedies import remedy_for
from dinrank.service.doctor.report import Finding, ok, warning, wrong
from dinrank.service.lineup.loading import BundleLoader, LoadedBundle

CHECK = "bundle"
OLD_DAYS = 30
_DAY_S = 86_400.0


def check_bundle(path: Path, loader: BundleLoader) -> tuple[list[Finding], LoadedBundle | None]:
    """Open the bundle as the service does: every checksum, the graph against the schema, every golden answer."""
    try:
        loaded = loader.load(loader.adopt(path))
    except BundleError as exc:
        return [wrong(CHECK, f"{path} cannot be served: {exc}", remedy_for(exc))], None
    manifest = loaded.bundle.manifest
    signed = "signed by a trusted key, " if loader.checks_signatures else ""
    findings = [
        ok(
            CHECK,
            f"{path} is {manifest.model_name} {manifest.model_version}: {signed}{len(manifest.files)} files as their "
            f"checksums say, {len(loaded.bundle.golden)} golden requests answered as in training",
        )
    ]
    written_ns = next(modified_ns for name, *_, modified_ns in loaded.identity.files if name == MANIFEST_FILE)
    findings.append(_age(path, time.time() - written_ns / 1e9))
    return findings, loaded


def _age(path: Path, age_s: float) -> Finding:
    days = age_s / _DAY_S
    if days > OLD_DAYS:
        return warning(
            CHECK,
            f"{path} was written {days:.0f} days ago; ads and tastes have changed since",
            "train on newer logs and compare with `python -m training replay`",
        )
    return ok(CHECK, f"{path} was written {days:.1f} days ago")
