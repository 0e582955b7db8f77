"""Remedies for errors that an operator can fix, shared by all commands."""

from dinrank.model.bundle.errors import (
    BundleError,
    ChecksumMismatch,
    GoldenMismatch,
    MissingFile,
    SignatureMismatch,
    UnsupportedFormat,
)
from dinrank.service.errors import FeatureStoreUnavailable, StoreFailure
from dinrank.service.lineup.copies import CannotCopyBundle
from dinrank.service.lineup.graph_check import GraphTimedOut

_OF_BUNDLES: dict[type[BundleError], str] = {
    MissingFile: "name the directory that `python -m training train --out` wrote, or copy it again with all its files",
    ChecksumMismatch: "copy the bundle again, or train it again: a file was changed or damaged on the way",
    SignatureMismatch: "if the bundle is yours, sign it with `python -m training sign BUNDLE --key KEY`; if you trust "
    "its author, add that public key to DINRANK_BUNDLE_KEYS; SECURITY.md says how",
    UnsupportedFormat: "train the bundle again with the version of this service, or run the version that it is for",
    CannotCopyBundle: "free disk space, or set DINRANK_RUN_DIR to a larger disk; DINRANK_BUNDLE_COPY=link takes no "
    "space on the bundle's own disk",
    GraphTimedOut: "train the bundle again; if its graphs are only slow, raise DINRANK_BUNDLE_TIMEOUT_MS",
    GoldenMismatch: "train the bundle again; if it was trained elsewhere, compare the versions of onnxruntime",
}

_OF_STORES = {
    StoreFailure.UNREACHABLE: (
        "start it, or mend --redis or DINRANK_REDIS (`embedded` needs no server); a firewall between the two looks the "
        "same"
    ),
    StoreFailure.TIMEOUT: "is it overloaded, or does a firewall drop the packets?",
    StoreFailure.MALFORMED: "something else answers there: mend the address, or look at the proxy in between",
    StoreFailure.REFUSED: (
        "if it is about the login, mend user and password in DINRANK_REDIS, SECURITY.md has the rights that are "
        "needed; if it is about memory or disk, give Redis room"
    ),
}


def remedy_for(error: Exception) -> str:
    """Return advice as a sentence without its first capital; empty if there is none beyond the error's message."""
    if isinstance(error, FeatureStoreUnavailable):
        return _OF_STORES.get(error.kind, "")
    if isinstance(error, BundleError):
        return next((said for kind, said in _OF_BUNDLES.items() if isinstance(error, kind)), "train the bundle again")
    return ""
