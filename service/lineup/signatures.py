"""Signature verification: the service trusts bundles whose manifest is signed by one of the operator's keys.

A bundle holds graphs, which ONNX Runtime runs: its author decides what runs in the workers. Checksums detect
accidents; the signature proves the author.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dinrank.model.bundle.errors import SignatureMismatch
from dinrank.model.bundle.files import SIGNATURE_FILE

SETTING = "DINRANK_BUNDLE_KEYS"  # used in messages instead of the path, as callers may see refusals

_KEYS = "PEM files of Ed25519 public keys"

_BEGIN = b"-----BEGIN "

_BLOCK = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class TrustedKeys:
    """Ed25519 public keys in a PEM file, or in all `*.pem` files of a directory.

    They are read each time a bundle is opened: an added or removed key takes effect with the next bundle.
    """

    path: Path

    @classmethod
    def of(cls, path: Path | None) -> "TrustedKeys | None":
        """Return None if no keys are configured: every bundle is trusted then."""
        return None if path is None else cls(path)

    def check(self, manifest: bytes, signature: bytes | None) -> None:
        """Refuse a manifest that none of the keys has signed.

        Raises:
            SignatureMismatch: no signature, or one by another key; unreadable keys; no `cryptography`.
        """
        try:
            from cryptography.exceptions import InvalidSignature  # imported here, as most services check no signatures
            from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
            from cryptography.hazmat.primitives.serialization import load_pem_public_key
        except ModuleNotFoundError as exc:
            raise SignatureMismatch(
                SETTING, expected="the package cryptography", found="none: pip install 'dinrank[signing]'"
            ) from exc
        keys = []
        for name, block in self._blocks():
            try:
                key = load_pem_public_key(block)
            except ValueError as exc:
                raise SignatureMismatch(SETTING, expected=_KEYS, found=f"{name}: {exc}") from exc
            if not isinstance(key, Ed25519PublicKey):
                raise SignatureMismatch(SETTING, expected=_KEYS, found=f"another kind of key in {name}")
            keys.append(key)
        expected = f"a signature by one of the {len(keys)} keys of {SETTING}"
        if signature is None:
            raise SignatureMismatch(SIGNATURE_FILE, expected=expected, found="no signature")
        for key in keys:
            try:
                key.verify(signature, manifest)
            except InvalidSignature:
                continue
            return
        raise SignatureMismatch(SIGNATURE_FILE, expected=expected, found="one that none of them made of this manifest")

    def _blocks(self) -> Iterator[tuple[str, bytes]]:
        """Yield every PEM key with its file's name. There is at least one."""
        try:
            files = sorted(self.path.glob("*.pem")) if self.path.is_dir() else [self.path]
            contents = {file.name: file.read_bytes() for file in files}
        except OSError as exc:
            raise SignatureMismatch(SETTING, expected=_KEYS, found=exc.strerror or repr(exc)) from exc
        if not contents:
            raise SignatureMismatch(SETTING, expected=_KEYS, found="a directory without *.pem")
        for name, content in contents.items():
            blocks = _BLOCK.findall(content)
            if not blocks or len(blocks) != content.count(_BEGIN):  # a private key, for instance
                raise SignatureMismatch(SETTING, expected=_KEYS, found=f"{name} with something else")
            yield from ((name, block) for block in blocks)
