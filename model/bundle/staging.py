"""Staging directories: written under a temporary name, renamed once, and cleaned up after a killed writer.

The writer holds a lock (flock) on its directory, which the system releases when the process ends, however it ends. So
the next writer to the same place can tell abandoned directories from those still being written, in another container
too. On a file system without locks nothing is removed.
"""

import errno
import fcntl
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_UNIQUE = re.compile(r"[0-9a-f]{32}")


@contextmanager
def staged_directory(out: Path) -> Iterator[Path]:
    """An empty directory beside `out` that becomes `out` when the block succeeds and vanishes when it fails.

    It is renamed once, when everything in it is on the disk. Missing parents of `out` are made, and stay. Leftovers
    of killed processes for the same `out` are removed.

    Raises:
        OSError: as the system says, with the name of a file; that of `out` where the system names none.
    """
    with named(out):
        out.parent.mkdir(parents=True, exist_ok=True)
        with _directory(out.parent, f".{out.name}.", mode=0o777) as staging:
            yield staging
            for path in (*staging.rglob("*"), staging):  # files, and the directories that name them
                flush(path)
            staging.rename(out)
            flush(out.parent)


@contextmanager
def scratch_directory(purpose: str, *, folder: Path | None = None) -> Iterator[Path]:
    """An empty directory for temporary files that vanishes with the block; leftovers of killed processes are removed.

    Args:
        purpose: a word for its name.
        folder: where to make it; by default the system's place for temporary files.

    Raises:
        OSError: as the system says, with the name of a file; that of the directory where the system names none.
    """
    with (
        _directory(folder or Path(tempfile.gettempdir()), f"dinrank-{purpose}-", mode=0o700) as directory,
        named(directory),
    ):
        yield directory


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Add `path` to an error that names no file: a failed write names none, and numpy omits the reason too."""
    try:
        yield
    except OSError as exc:
        if exc.errno is None and "written" in str(exc):  # numpy reports only the numbers of items requested and written
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from exc
        if exc.errno is not None and exc.filename is None:
            exc.filename = str(path)
        raise


def write_whole(file: Path, text: str) -> None:
    """Replace a file atomically: if the process is killed, either the old or the new file is there.

    A link or a device is written through.

    Raises:
        OSError: as the system says, with the name of a file.
    """
    if file.is_symlink() or (file.exists() and not file.is_file()):
        with named(file):
            file.write_text(text, encoding="utf-8")
        return
    partial = file.with_name(f"{file.name}.partial")  # fixed name: the next attempt overwrites a leftover
    try:
        with named(file):
            partial.write_text(text, encoding="utf-8")
            flush(partial)
            partial.replace(file)
            flush(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def flush(path: Path) -> None:
    """Wait until a file or a directory is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _directory(folder: Path, prefix: str, *, mode: int) -> Iterator[Path]:
    _remove_abandoned(folder, prefix)
    path, lock = _locked(folder, prefix, mode)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def _locked(folder: Path, prefix: str, mode: int) -> tuple[Path, int]:
    """A new directory and the open file that holds its lock."""
    while True:
        path = folder / f"{prefix}{uuid.uuid4().hex}"
        path.mkdir(mode=mode)
        with suppress(FileNotFoundError):  # removed as abandoned before it was locked: try again
            lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            with suppress(OSError):  # no locks on this file system, so nobody removes it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


def _remove_abandoned(folder: Path, prefix: str) -> None:
    with suppress(PermissionError):  # a folder that is writable but cannot be listed
        for path in folder.iterdir():
            if path.name.startswith(prefix) and _UNIQUE.fullmatch(path.name.removeprefix(prefix)):
                _remove_if_abandoned(path)


def _remove_if_abandoned(path: Path) -> None:
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:  # removed meanwhile, or not one of our directories
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # somebody still writes to it, or there are no locks
        pass
    else:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
