"""Explain errors of the operating system in one line that says where and what to do."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

_NO_RIGHT = (errno.EACCES, errno.EPERM)

_NO_PLACE = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP)


def explain(exc: OSError) -> str:
    """Return the reason, the file and the advice."""
    if exc.errno is None:  # raised by us, with a sentence
        return str(exc)
    where = _place(exc)
    said = exc.strerror or os.strerror(exc.errno)
    reason = said if where is None else f"{where}: {said}"
    if exc.errno in _NO_ROOM:
        return (
            f"no room on a disk: {reason}{_free(where)}. What is written is whole or not there. Make room where the "
            f"output lies, and for temporary files in {_temporary()} (or set TMPDIR), and run it again, "
            "`train` with --resume"
        )
    if exc.errno == errno.EROFS:
        return f"{reason}; nothing can be written there: name another place, or mount it to be written"
    if exc.errno in _NO_RIGHT:
        return f"{reason}; change the rights there, or name another place"
    if exc.errno in _NO_PLACE:
        return f"{reason}; name another place"
    return f"{reason}; the system refused that. Run it again, `train` with --resume, when it no longer does"


def _temporary() -> str:
    try:
        return tempfile.gettempdir()
    except FileNotFoundError:  # it is found by writing
        return "/tmp"


def _place(exc: OSError) -> str | None:
    """Return the file of an error; of two, the one that was written."""
    named = exc.filename if exc.filename2 is None else exc.filename2
    return None if named is None else os.fsdecode(named) if isinstance(named, bytes | str) else str(named)


def _free(where: str | None) -> str:
    """Describe the free space there, if the place exists."""
    if where is None:
        return ""
    existing = next((path for path in (Path(where), *Path(where).absolute().parents) if path.exists()), None)
    return "" if existing is None else f" ({shutil.disk_usage(existing).free / 1e6:,.1f} MB are free)"
