"""Content-addressed private copies of bundles: no other program can change a memory-mapped file.

Truncating or overwriting a mapped file kills every process that reads it (SIGBUS), or changes answers unnoticed. So a
bundle is copied into a private directory and verified there; all workers share one copy.
"""

import fcntl
import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from dinrank.model.bundle.errors import BundleError, MissingFile, SchemaMismatch, UnsupportedFormat
from dinrank.model.bundle.files import SIGNATURE_FILE
from dinrank.model.bundle.manifest import MANIFEST_FILE, Manifest
from dinrank.model.bundle.reader import Signatures, listed_files, read_manifest, read_signature, verify_files
from dinrank.service.settings import CopyMode

_ATTEMPTS = 3  # if the path changes while it is read

_CLONE = 0x40049409  # Linux's FICLONE: both files share their blocks, copy-on-write

_BLOCK_BYTES = 1 << 20

_LOCK_FILE = "lock"

_MODE = 0o400  # of the copies: read-only, for the service too

_PASSED_SUFFIX = ".passed"
_SOURCE_SUFFIX = ".source"


class CannotCopyBundle(BundleError):
    """The service lacks the space or the permission for its own copy."""


class Identity(NamedTuple):
    """Fingerprint of the bundle at a path: a different fingerprint may be a different bundle.

    Attributes:
        directory: with all symbolic links resolved.
        files: name, device, inode, size and modification time in ns of each; empty without a manifest.
    """

    directory: Path
    files: tuple[tuple[str, int, int, int, int], ...]


class Adopted(NamedTuple):
    """A bundle with a verified private copy.

    Attributes:
        identity: of its source.
        key: sha256 of its manifest, and so of all its files.
        directory: of the copy.
    """

    identity: Identity
    key: str
    directory: Path


def identity_of(path: Path) -> Identity:
    """Return a path's fingerprint. Costs a system call per file, so it can be polled every second."""
    directory = Path(os.path.realpath(path))
    try:
        if not (directory / MANIFEST_FILE).is_file():
            return Identity(directory, ())
        return Identity(directory, tuple(sorted(_stamps(directory))))
    except OSError:  # it is changing right now, or is not readable
        return Identity(directory, ())


def _stamps(directory: Path) -> Iterator[tuple[str, int, int, int, int]]:
    for folder, _, names in os.walk(directory):
        for name in names:
            path = Path(folder, name)
            found = path.stat()
            yield str(path.relative_to(directory)), found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


class BundleCopies:
    """Copies in one directory, shared by the processes of one service.

    Args:
        directory: created if missing; no other program may write to it.
        signatures: see `open_bundle`; every bundle is checked before it is copied.
        mode: `copy` shares blocks (reflink) if the file system can, else copies bytes. `link` makes hard links if
            possible: these take no space, and protect from files being replaced or removed, but not from being
            overwritten in place.
    """

    def __init__(self, directory: Path, *, mode: CopyMode = "copy", signatures: Signatures | None = None) -> None:
        self._directory = directory
        self._signatures = signatures
        self._mode = mode
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def adopt(self, path: Path, *, rereads: bool = False) -> Adopted:
        """Copy the bundle at a path and verify the copy; an existing copy is reused.

        `path` may be a symbolic link. It is resolved once, so that a switch during reading cannot mix two bundles. If
        the path or its files have changed afterwards, the new bundle is read instead.

        Args:
            rereads: compare the files at the path with their checksums, even if none looks changed.

        Raises:
            BundleError: verification failed, or the bundle changed at every attempt.
        """
        for _ in range(_ATTEMPTS):
            identity = identity_of(path)
            try:
                key = self._copied(identity, rereads=rereads)
            except BundleError:
                if identity_of(path) == identity:
                    raise
                continue  # it was replaced while it was read: the new one may be complete
            if identity_of(path) == identity:
                self._source_of(key).write_text(repr(identity), encoding="utf-8")
                return Adopted(identity, key, self.path_of(key))
        raise UnsupportedFormat(
            MANIFEST_FILE, expected="one bundle while it is read", found=f"another one, {_ATTEMPTS} times in a row"
        )

    def path_of(self, key: str) -> Path:
        return self._directory / key

    def has_passed(self, key: str) -> bool:
        """Return True if any process of this service has run the copy's graphs successfully."""
        return self._mark(key).exists()

    def note_passed(self, key: str) -> None:
        self._mark(key).touch()

    def keep(self, keys: Set[str]) -> None:
        """Remove all other copies. Files that other processes have mapped stay readable for them."""
        with self.locked():
            for copy in self._directory.iterdir():
                if copy.is_dir() and copy.name not in keys:
                    shutil.rmtree(copy, ignore_errors=True)
                    self._mark(copy.name).unlink(missing_ok=True)
                    self._source_of(copy.name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock out the other processes of this service from copying and removing."""
        with (self._directory / _LOCK_FILE).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _mark(self, key: str) -> Path:
        return self._directory / f"{key}{_PASSED_SUFFIX}"

    def _source_of(self, key: str) -> Path:
        """The file that says which source, by its identity, was last compared with its checksums."""
        return self._directory / f"{key}{_SOURCE_SUFFIX}"

    def _has_read(self, key: str, identity: Identity) -> bool:
        """Return True if any process of this service has compared this very source with its checksums."""
        source = self._source_of(key)
        return source.exists() and source.read_text(encoding="utf-8") == repr(identity)

    def _copied(self, identity: Identity, *, rereads: bool) -> str:
        """Copy the bundle in a directory unless a copy exists, and return its key. Raises: BundleError."""
        source = identity.directory
        manifest, content = read_manifest(source, self._signatures)
        key = hashlib.sha256(content).hexdigest()
        with self.locked():
            if self.path_of(key).exists():
                if rereads or not self._has_read(key, identity):
                    verify_files(source, manifest)
                return key
            self._copy(source, manifest, content, key)
        return key

    def _copy(self, source: Path, manifest: Manifest, content: bytes, key: str) -> None:
        own = {MANIFEST_FILE: content}  # the very bytes that were verified
        if (signature := read_signature(source)) is not None:
            own[SIGNATURE_FILE] = signature
        files = listed_files(source, manifest)
        copy = Path(tempfile.mkdtemp(prefix=".", dir=self._directory))
        try:
            self._fill(copy, files, own)
            verify_files(copy, manifest)
            copy.rename(self.path_of(key))
        except BaseException:
            shutil.rmtree(copy, ignore_errors=True)
            raise

    def _fill(self, copy: Path, files: Mapping[str, Path], own: Mapping[str, bytes]) -> None:
        """Raises: BundleError."""
        size = sum(file.stat().st_size for file in files.values())
        try:
            for name, file in files.items():
                target = copy / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if self._mode == "copy" or not _link(file, target):
                    _copy_file(name, file, target)
            for name, content in own.items():
                (copy / name).write_bytes(content)
                (copy / name).chmod(_MODE)
        except OSError as exc:
            if exc.filename is not None and Path(str(exc.filename)) in files.values():
                found = exc.strerror or repr(exc)
                raise MissingFile(str(exc.filename), expected="a file that can be read", found=found) from exc
            raise CannotCopyBundle(
                "the service's own copy", expected=f"room for {size:,} bytes", found=exc.strerror or repr(exc)
            ) from exc


def _link(file: Path, target: Path) -> bool:
    """Make a hard link; return False if the file system or the file's owner does not allow it."""
    try:
        target.hardlink_to(file.resolve())
    except OSError:
        return False
    return True


def _copy_file(name: str, file: Path, target: Path) -> None:
    """Raises: SchemaMismatch, if it is not a regular file; OSError."""
    with open(file, "rb", opener=_without_waiting) as source, target.open("xb") as copy:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise SchemaMismatch(name, expected="a regular file", found="another kind of file")
        if not _clone(source, copy):
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
        os.fchmod(copy.fileno(), _MODE)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would block until it has a writer


def _clone(source: IO[bytes], copy: IO[bytes]) -> bool:
    """Make the copy share the source's blocks; return False if the file system cannot."""
    try:
        fcntl.ioctl(copy.fileno(), _CLONE, source.fileno())
    except OSError:
        return False
    return True
