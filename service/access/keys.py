"""API keys: read from a file, compared in constant time, rotated without a restart."""

import hashlib
import hmac
import logging
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from dinrank.service.telemetry.logs import log_event

MIN_KEY_LENGTH = 16  # characters; `openssl rand -hex 32` gives 64

_LOOK_AGAIN_S = 1.0  # shortest time between two reads of the file

_SETTLED_S = 1.0  # a file modified more recently may be half written

_MOST_WAITS = 10

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class BadKeyFile(Exception):
    """A key file cannot be read, or a line is not a key. The message names the line, never its content."""


class KeyRing:
    """All keys of one file; several, so that a new key can be handed out before the old one is revoked.

    Only digests are kept. A changed file takes effect once it was not modified for a second, so that a half-written one
    locks nobody out and lets nobody in. While the file is invalid, the previous keys stay in force, and a log line says
    so.

    Raises:
        BadKeyFile: the file is invalid at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _read(path)
        self._keys = _Keys.parse(content.text, path)
        self._in_force = self._judged = digest_of(content.text)  # of contents: the one in force, the last one checked
        self._unsettled: bytes | None = None
        self._complaint = ""
        self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S

    def admits(self, key: bytes) -> bool:
        """Return whether `key` is valid, in constant time."""
        if time.monotonic() >= self._look_again_at_s:
            self._look_again_at_s = time.monotonic() + _LOOK_AGAIN_S
            self._look_again()
        return _is_among(self._keys.digests, key)

    def _look_again(self) -> None:
        try:
            content = _read(self._path)
            digest = digest_of(content.text)
            is_settled = content.is_old or digest == self._unsettled
            self._unsettled = digest
            if is_settled and digest != self._judged:
                self._judged = digest
                if digest != self._in_force:
                    self._replace(content.text, digest)
            if digest == self._in_force:
                self._complaint = ""
        except BadKeyFile as exc:
            if str(exc) != self._complaint:  # log it once, not on every read
                self._complaint = str(exc)
                log_event(logging.ERROR, "keys_kept", error=exc)

    def _replace(self, text: bytes, digest: bytes) -> None:
        """Raises: BadKeyFile."""
        keys = _Keys.parse(text, self._path)
        if self._keys.beginnings & set(keys.digests) - set(self._keys.digests):
            raise BadKeyFile(f"{self._path} holds the beginning of a key that is in force: it seems to be cut off")
        self._keys, self._in_force = keys, digest
        log_event(logging.INFO, "keys_replaced", file=self._path, keys=len(keys.digests))
        warn_of_writers(self._path)


class OneKey:
    """A single key, known by its digest only; without a digest nobody is admitted."""

    def __init__(self, digest: bytes | None) -> None:
        self._digests: tuple[bytes, ...] = () if digest is None else (digest,)

    def admits(self, key: bytes) -> bool:
        """Return whether `key` is valid, in constant time."""
        return _is_among(self._digests, key)


def read_digests(path: Path) -> tuple[bytes, ...]:
    """Return the SHA-256 of each key in a file: one per line, without blank lines and those that begin with #.

    Raises:
        BadKeyFile
    """
    return _Keys.parse(_read(path).text, path).digests


def wait_until_settled(path: Path) -> None:
    """Wait until the file was not modified for a moment: its writer may not be done.

    Raises:
        BadKeyFile: it keeps being modified.
    """
    for _ in range(_MOST_WAITS):
        age_s = time.time() - path.stat().st_ctime if path.exists() else _SETTLED_S
        if not 0 <= age_s < _SETTLED_S:
            return
        time.sleep(_SETTLED_S - age_s)
    raise BadKeyFile(f"{path} keeps being modified; start the service when it is complete")


def writable_by_others(path: Path) -> list[Path]:
    """Return those of the file, its directory and its link target's directory to which another account may write.

    In a directory with the sticky bit others cannot replace a file. Raises: OSError.
    """
    places = dict.fromkeys((path, path.absolute().parent, path.resolve().parent))
    return [place for place in places if _can_others_write(place.stat().st_mode)]


def warn_of_writers(path: Path) -> None:
    """Log the paths where other accounts could add a key."""
    try:
        places = writable_by_others(path)
    except OSError as exc:
        log_event(logging.WARNING, "key_file_not_examined", file=path, error=exc)
        return
    for place in places:
        log_event(logging.WARNING, "key_file_writable", file=path, place=place, remedy=f"chmod go-w {place}")


def digest_of(text: bytes) -> bytes:
    """Return the SHA-256. Keys are random and long, so a fast hash is enough; all digests have the same length."""
    return hashlib.sha256(text).digest()


class _Keys(NamedTuple):
    """Attributes:
    digests: of each key.
    beginnings: of each key's truncated forms that are long enough to pass for a key.
    """

    digests: tuple[bytes, ...]
    beginnings: frozenset[bytes]

    @classmethod
    def parse(cls, text: bytes, path: Path) -> "_Keys":
        """Raises: BadKeyFile."""
        keys = _keys(text, path)
        beginnings = frozenset(digest for key in keys for digest in _digests_of_beginnings(key))
        return cls(tuple(map(digest_of, keys)), beginnings)


class _Content(NamedTuple):
    """Attributes:
    is_old: the file was not modified for a while before it was read.
    """

    text: bytes
    is_old: bool


def _read(path: Path) -> _Content:
    """Raises: BadKeyFile."""
    try:
        with path.open("rb") as file:
            # Not `st_mtime`, which can be set to any time: copies may keep that of their originals.
            written_ns = os.fstat(file.fileno()).st_ctime_ns
            text = file.read()
            is_unchanged = os.fstat(file.fileno()).st_ctime_ns == written_ns
    except OSError as exc:
        raise BadKeyFile(f"the keys in {path} cannot be read: {exc.strerror}") from exc
    return _Content(text, is_old=is_unchanged and time.time() - written_ns / 1e9 >= _SETTLED_S)


def _keys(text: bytes, path: Path) -> list[bytes]:
    """Raises: BadKeyFile."""
    try:
        lines = text.decode("ascii").splitlines()
    except UnicodeDecodeError as exc:
        # Not `from exc`: it holds the bytes, which must not appear in a traceback.
        raise BadKeyFile(f"{path}: keys are of ASCII letters, digits and signs, byte {exc.start} is none") from None
    keys = []
    for number, line in enumerate(lines, start=1):
        key = line.strip()
        if not key or key.startswith("#"):
            continue
        if len(key) < MIN_KEY_LENGTH or not all("!" <= character <= "~" for character in key):
            raise BadKeyFile(
                f"{path}, line {number}: a key is one word of at least {MIN_KEY_LENGTH} ASCII characters; "
                "`openssl rand -hex 32` makes one"
            )
        keys.append(key.encode())
    if not keys:
        raise BadKeyFile(f"{path} holds no key; write one a line, `openssl rand -hex 32` makes one")
    return keys


def _digests_of_beginnings(key: bytes) -> Iterable[bytes]:
    hashed = hashlib.sha256(key[: MIN_KEY_LENGTH - 1])
    for place in range(MIN_KEY_LENGTH - 1, len(key) - 1):
        hashed.update(key[place : place + 1])
        yield hashed.copy().digest()


def _is_among(digests: Iterable[bytes], key: bytes) -> bool:
    digest = digest_of(key)
    is_known = False
    for known in digests:  # all of them, even after a hit
        is_known |= hmac.compare_digest(known, digest)
    return is_known


def _can_others_write(mode: int) -> bool:
    return bool(mode & _OTHERS_WRITE) and not (stat.S_ISDIR(mode) and mode & stat.S_ISVTX)
