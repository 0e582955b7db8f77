"""Output lock: one training at a time writes to one place."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dinrank.training.errors import OutputTaken

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Lock `out` and the files beside it: two trainings would overwrite each other's checkpoint.

    The lock is `.NAME.lock` beside `out`, gone at the end. The system releases it if the process is killed, and the
    next one takes over the file. On a file system without locks there is no protection. As a file is written, an
    unwritable place is detected before any work.

    Raises:
        OutputTaken: another process holds it.
        OSError: nothing can be written there.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    file = out.with_name(f".{out.name}.lock")
    lock = _locked(file, out)
    try:
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(lock)


def _locked(file: Path, out: Path) -> int:
    while True:
        lock = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(lock)
            raise OutputTaken(f"another process writes to {out}: wait for its end or choose another --out") from exc
        except OSError as exc:
            if exc.errno not in _NO_LOCKS:
                raise
            return lock
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(lock), file.stat()):
                return lock
        os.close(lock)  # its holder has just ended and removed the file
