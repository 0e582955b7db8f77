"""The service's own copies of bundles, by content: nobody else can change a file that is mapped.

A file that is cut or overwritten while it is mapped ends every process that reads it (SIGBUS), or changes answers
unnoticed. So a bundle is copied into a directory of the service's own and verified there; workers share one copy.
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

_ATTEMPTS = 3  # when the path leads elsewhere at the end than at the beginning

_CLONE = 0x40049409  # Linux's FICLONE: both files share their blocks until one is written to

_BLOCK_BYTES = 1 << 20

_LOCK_FILE = "lock"

_MODE = 0o400  # of the copies: nobody writes to them, the service included

_PASSED_SUFFIX = ".passed"


class CannotCopyBundle(BundleError):
    """The service has no room, or no right, for a copy of its own."""


class Identity(NamedTuple):
    """Which directory a path leads to, and which files lie there: another one may be another bundle.

    Attributes:
        directory: every symbolic link resolved.
        files: name, device, inode, size and modification time in ns of each; empty without a manifest.
    """

    directory: Path
    files: tuple[tuple[str, int, int, int, int], ...]


class Adopted(NamedTuple):
    """A bundle that the service has a verified copy of.

    Attributes:
        identity: of where it was found.
        key: sha256 of its manifest, and so of all its files.
        directory: of the copy.
    """

    identity: Identity
    key: str
    directory: Path


def identity_of(path: Path) -> Identity:
    """Look at a path; costs a call of the operating system per file, so it can be asked every second."""
    directory = Path(os.path.realpath(path))
    try:
        if not (directory / MANIFEST_FILE).is_file():
            return Identity(directory, ())
        return Identity(directory, tuple(sorted(_stamps(directory))))
    except OSError:  # it changes just now, or may not be read
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
        directory: made when it is not there; nobody else may write to it.
        signatures: see `open_bundle`; asked about every bundle before it is copied.
        mode: `copy` shares blocks where the file system can and copies bytes where it cannot. `link` makes hard links
            where it can: these need no room, and protect from files that are replaced or removed, but not from files
            that are overwritten in place.
    """

    def __init__(self, directory: Path, *, mode: CopyMode = "copy", signatures: Signatures | None = None) -> None:
        self._directory = directory
        self._signatures = signatures
        self._mode = mode
        self._read: dict[str, Identity] = {}  # by key, what was compared with its checksums last
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)

    def adopt(self, path: Path, *, rereads: bool = False) -> Adopted:
        """Copy the bundle at a path and verify the copy; a copy that is there already is used again.

        `path` may be a symbolic link. It is followed once, so a switch amid the reading cannot mix two bundles. When
        the path leads elsewhere afterwards, or files have changed, what lies there now is taken instead.

        Args:
            rereads: compare the files at the path with their checksums, even if none looks changed.

        Raises:
            BundleError: the bundle cannot be trusted, or changes whenever one looks.
        """
        for _ in range(_ATTEMPTS):
            identity = identity_of(path)
            try:
                key = self._copied(identity, rereads=rereads)
            except BundleError:
                if identity_of(path) == identity:
                    raise
                continue  # it went away while it was read: what came instead may be whole
            if identity_of(path) == identity:
                self._read[key] = identity
                return Adopted(identity, key, self.path_of(key))
        raise UnsupportedFormat(
            MANIFEST_FILE, expected="one bundle while it is read", found=f"another one, {_ATTEMPTS} times in a row"
        )

    def path_of(self, key: str) -> Path:
        return self._directory / key

    def has_passed(self, key: str) -> bool:
        """Return whether some process of this service has run the copy's graphs and found them good."""
        return self._mark(key).exists()

    def note_passed(self, key: str) -> None:
        self._mark(key).touch()

    def keep(self, keys: Set[str]) -> None:
        """Remove all copies but these. What other processes have mapped stays readable for them."""
        with self.locked():
            for copy in self._directory.iterdir():
                if copy.is_dir() and copy.name not in keys:
                    shutil.rmtree(copy, ignore_errors=True)
                    self._mark(copy.name).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep the other processes of this service from copying and removing."""
        with (self._directory / _LOCK_FILE).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _mark(self, key: str) -> Path:
        return self._directory / f"{key}{_PASSED_SUFFIX}"

    def _copied(self, identity: Identity, *, rereads: bool) -> str:
        """Return the key of the bundle in a directory, which has a copy from then on. Raises: BundleError."""
        source = identity.directory
        manifest, content = read_manifest(source, self._signatures)
        key = hashlib.sha256(content).hexdigest()
        with self.locked():
            if self.path_of(key).exists():
                if rereads or self._read.get(key) != identity:
                    verify_files(source, manifest)
                return key
            self._copy(source, manifest, content, key)
        return key

    def _copy(self, source: Path, manifest: Manifest, content: bytes, key: str) -> None:
        own = {MANIFEST_FILE: content}  # the very bytes that were looked at
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
    """Return whether the file system and the file's owner allow a hard link."""
    try:
        target.hardlink_to(file.resolve())
    except OSError:
        return False
    return True


def _copy_file(name: str, file: Path, target: Path) -> None:
    """Raises: SchemaMismatch, for what is no regular file; OSError."""
    with open(file, "rb", opener=_without_waiting) as source, target.open("xb") as copy:
        if not stat.S_ISREG(os.fstat(source.fileno()).st_mode):
            raise SchemaMismatch(name, expected="a regular file", found="another kind of file")
        if not _clone(source, copy):
            shutil.copyfileobj(source, copy, _BLOCK_BYTES)
        os.fchmod(copy.fileno(), _MODE)


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe would wait for somebody who writes


def _clone(source: IO[bytes], copy: IO[bytes]) -> bool:
    """Return whether the file system could make the copy share the source's blocks."""
    try:
        fcntl.ioctl(copy.fileno(), _CLONE, source.fileno())
    except OSError:
        return False
    return True
