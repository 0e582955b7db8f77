"""A bundle from the disk to one that can serve, and how to tell that another one lies there."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from model.bundle.errors import BundleError, UnsupportedFormat
from model.bundle.manifest import MANIFEST_FILE
from model.bundle.reader import Bundle, Signatures, open_bundle
from service.scoring.predictor import Predictor

_ATTEMPTS = 3  # when the path leads elsewhere at the end than at the beginning


class Identity(NamedTuple):
    """Which directory a path leads to, and which manifest lies there: another one is another bundle.

    Attributes:
        directory: every symbolic link resolved.
        manifest: device, inode, size and modification time in ns; None without a manifest. A bundle is never changed in
            place, so nothing else need be looked at.
    """

    directory: Path
    manifest: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class LoadedBundle:
    """A bundle that has reproduced its golden answers."""

    identity: Identity
    bundle: Bundle
    predictor: Predictor


def identity_of(path: Path) -> Identity:
    """Costs two calls of the operating system or few more, so it can be asked every second."""
    directory = Path(os.path.realpath(path))
    try:
        found = (directory / MANIFEST_FILE).stat()
    except OSError:
        return Identity(directory, None)
    return Identity(directory, (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def load_bundle(path: Path, signatures: Signatures | None = None) -> LoadedBundle:
    """Verify a bundle and make it ready to score; its golden requests warm the graphs up.

    `path` may be a symbolic link. It is followed once, so a switch amid the reading cannot mix two bundles. When the
    path leads elsewhere afterwards, or the directory has been replaced, what lies there now is loaded instead.

    Args:
        signatures: see `open_bundle`.

    Raises:
        BundleError: the bundle cannot be trusted, or the path leads elsewhere whenever one looks.
    """
    for _ in range(_ATTEMPTS):
        identity = identity_of(path)
        try:
            bundle = open_bundle(identity.directory, signatures=signatures)
            loaded = LoadedBundle(identity, bundle, Predictor.load(bundle))
        except BundleError:
            if identity_of(path) == identity:
                raise
            continue  # it went away while it was read: what came instead may be whole
        if identity_of(path) == identity:
            return loaded
    raise UnsupportedFormat(
        MANIFEST_FILE, expected="one bundle while it is read", found=f"another one, {_ATTEMPTS} times in a row"
    )
