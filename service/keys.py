"""Keys that callers show: read from a file, compared in constant time, replaced without a restart."""

import hashlib
import hmac
import logging
import time
from pathlib import Path

from service.telemetry import log_event

MIN_KEY_LENGTH = 16  # characters; `openssl rand -hex 32` gives 64
_LOOK_AGAIN_S = 1.0  # the file's date is looked at so often at most, as looking costs a system call


class BadKeyFile(Exception):
    """A file of keys cannot be read, or a line of it is no key. The message names the line, never what it holds."""


class KeyRing:
    """All keys of one file: as many as it has, so that a new one can be handed out before the old one is taken away.

    Only digests are kept. A changed file is read again within a second of the next request; while it is not a good
    one, the keys that were read last stay in force, and a log line says so.

    Raises:
        BadKeyFile: the file is not a good one at the beginning.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = _stamp(path)
        self._digests = read_digests(path)
        self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S

    def admits(self, key: bytes) -> bool:
        """Whether it is one of the keys. Takes the same time whichever it is, how long it is, and if it is none."""
        if time.monotonic() >= self._look_again_at_s:
            self._read_again()
        digest = _digest(key)
        is_known = False
        for known in self._digests:  # all of them, also after a hit
            is_known |= hmac.compare_digest(known, digest)
        return is_known

    def _read_again(self) -> None:
        self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._digests = read_digests(self._path)
        except BadKeyFile as exc:
            log_event(logging.ERROR, "keys_kept", error=exc)
        else:
            log_event(logging.INFO, "keys_replaced", file=self._path, keys=len(self._digests))


def read_digests(path: Path) -> tuple[bytes, ...]:
    """The SHA-256 of each key in a file: one a line, blank lines and those that begin with # apart.

    Raises:
        BadKeyFile
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError as exc:
        raise BadKeyFile(f"the keys in {path} cannot be read: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        # Not `from exc`: it carries the bytes, and a traceback is no place for them.
        raise BadKeyFile(f"{path}: keys are of ASCII letters, digits and signs, byte {exc.start} is none") from None
    digests = []
    for number, line in enumerate(lines, start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < MIN_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
            raise BadKeyFile(
                f"{path}, line {number}: a key is one word of at least {MIN_KEY_LENGTH} ASCII characters; "
                "`openssl rand -hex 32` makes one"
            )
        digests.append(_digest(key.encode()))
    if not digests:
        raise BadKeyFile(f"{path} holds no key; write one a line, `openssl rand -hex 32` makes one")
    return tuple(digests)


def _digest(key: bytes) -> bytes:
    # Keys are random and long, so a fast hash does; it gives all comparisons one length.
    return hashlib.sha256(key).digest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file, also when another one takes its place; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
