"""Sign bundles with an Ed25519 key, so that a service can verify their origin."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from dinrank.model.bundle.files import SIGNATURE_FILE
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.staging import flush
from dinrank.model.bundle.writer import Sign
from dinrank.training.errors import SigningError

_HOW = "make one with: openssl genpkey -algorithm ed25519 -out bundle-key.pem"


def read_signing_key(file: Path) -> Sign:
    """Read a private key in PEM, as `openssl genpkey -algorithm ed25519` writes it.

    Returns:
        A function from the bytes of a manifest to the 64 bytes of its signature.

    Raises:
        SigningError: the file cannot be read or is not such a key, or `cryptography` is not installed.
    """
    try:
        from cryptography.exceptions import UnsupportedAlgorithm  # imported here, as most trainings sign nothing
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ModuleNotFoundError as exc:
        raise SigningError("signing needs cryptography: pip install 'dinrank[signing]'") from exc
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as exc:
        raise SigningError(f"{file} cannot be read: {exc.strerror or exc}; {_HOW}") from exc
    except TypeError as exc:
        raise SigningError(f"{file} is encrypted; decrypt it on its way: --key <(openssl pkey -in {file})") from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise SigningError(f"{file} is no private key in PEM; {_HOW}") from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise SigningError(f"{file} is a key of another kind; {_HOW}")
    return key.sign


def sign_bundle(path: Path, sign: Sign) -> None:
    """Verify a bundle, and sign exactly the manifest that was verified. An existing signature is replaced.

    Raises:
        BundleError: the bundle cannot be trusted.
    """
    directory = path.resolve()
    taken = _Taken()
    open_bundle(directory, signatures=taken)
    descriptor, beside = tempfile.mkstemp(prefix=f".{directory.name}.", dir=directory.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(sign(taken.manifest))
            os.fchmod(descriptor, 0o644)
        flush(Path(beside))
        Path(beside).replace(directory / SIGNATURE_FILE)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
    flush(directory)


@dataclass(slots=True)
class _Taken:
    """Accepts every manifest and keeps it."""

    manifest: bytes = b""

    def check(self, manifest: bytes, signature: bytes | None) -> None:
        self.manifest = manifest
