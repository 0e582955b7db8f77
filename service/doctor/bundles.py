"""Whether the bundles can be served, and how old they are."""

import time
from pathlib import Path

from model.bundle.errors import BundleError
from model.bundle.reader import Signatures
from service.doctor.findings import Finding, ok, warning, wrong
from service.loading import LoadedBundle, load_bundle
from service.remedies import remedy_for

CHECK = "bundle"
OLD_DAYS = 30
_DAY_S = 86_400.0


def check_bundle(path: Path, signatures: Signatures | None = None) -> tuple[list[Finding], LoadedBundle | None]:
    """Open it as the service does: every checksum, the graph against the schema, every golden answer."""
    try:
        loaded = load_bundle(path, signatures)
    except BundleError as exc:
        return [wrong(CHECK, f"{path} cannot be served: {exc}", remedy_for(exc))], None
    manifest = loaded.bundle.manifest
    signed = "" if signatures is None else "signed by a trusted key, "
    findings = [
        ok(
            CHECK,
            f"{path} is {manifest.model_name} {manifest.model_version}: {signed}{len(manifest.files)} files as their "
            f"checksums say, {len(loaded.bundle.golden)} golden requests answered as in training",
        )
    ]
    if loaded.identity.manifest is not None:
        *_, modified_ns = loaded.identity.manifest
        findings.append(_age(path, time.time() - modified_ns / 1e9))
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
