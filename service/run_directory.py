"""A directory of the service's own for as long as it runs: its copies of bundles, the workers' metrics."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

RUN_DIRECTORY_VARIABLE = "DINRANK_OWN_DIRECTORY"  # set for the workers by the process that starts them

_PREFIX = "dinrank-run-"
_UNLOCKED_PREFIX = ".dinrank-new-"  # a directory has its final name once it is locked
_LOCK_FILE = "lock"


class NoRunDirectory(Exception):
    """No directory can be made for the service's own files; the message names the place and the setting."""


@contextmanager
def run_directory(parent: Path | None) -> Iterator[Path]:
    """Make a directory that only this user may enter, and remove it at the end of the block.

    Directories of services that were killed are removed first: those whose lock nobody holds.

    Args:
        parent: where to make it; by default the system's place for temporary files.

    Raises:
        NoRunDirectory
    """
    place = Path(tempfile.gettempdir()) if parent is None else parent
    try:
        place.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(place)
        unlocked = Path(tempfile.mkdtemp(prefix=_UNLOCKED_PREFIX, dir=place))
        lock = os.open(unlocked / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise NoRunDirectory(
            f"no directory for the service's own files in {place}: {exc.strerror}; set DINRANK_RUN_DIR to one that it "
            "may write to"
        ) from exc
    directory = unlocked.with_name(unlocked.name.replace(_UNLOCKED_PREFIX, _PREFIX))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        unlocked.rename(directory)
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


def _remove_abandoned(place: Path) -> None:
    for directory in place.glob(f"{_PREFIX}*"):
        # Somebody else's may go at any moment, or belong to another user.
        with suppress(OSError), _opened(directory / _LOCK_FILE) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(directory)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
