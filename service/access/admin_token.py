"""Admin token: the credential of admin routes without a file of admin keys, written by the service at its start.

Only accounts that can read the file may use these routes: the one that the service runs as, and root.
"""

import fcntl
import logging
import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dinrank.service.access.keys import digest_of
from dinrank.service.telemetry.logs import log_event

# Passes the digest to the workers, which need no more to recognise the token.
TOKEN_DIGEST_VARIABLE = "DINRANK_ADMIN_TOKEN_DIGEST"

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

_MOST_TRIES = 10  # to lock the file at the path rather than one that was replaced meanwhile


class BadTokenFile(Exception):
    """The admin token cannot be written to a private place. The message names the path and a remedy."""


def default_token_dir() -> Path:
    """Return `$XDG_RUNTIME_DIR/dinrank`, or a private directory below the temporary folder.

    The variable may point to another account's directory: `su` and `sudo` pass it on.
    """
    configured = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if configured.is_absolute() and configured.is_dir() and configured.stat().st_uid == os.getuid():
        return configured / "dinrank"
    return Path(tempfile.gettempdir()) / f"dinrank-{os.getuid()}"


def token_path(directory: Path, host: str, port: int) -> Path:
    """Return the token file of a service that listens on this address."""
    return directory / f"admin-token-{host}-{port}"


@contextmanager
def admin_token(path: Path) -> Iterator[None]:
    """Keep a new token at `path` during the block, and its digest in the workers' environment.

    A token left by an earlier run is replaced. One of a running service is not: it is locked as long as its service
    runs.

    Raises:
        BadTokenFile
    """
    token = secrets.token_hex(32)
    with ExitStack() as stack:
        try:
            _make_directory(path.parent)
            stack.enter_context(_written(path, token))
        except OSError as exc:
            raise BadTokenFile(
                f"the admin token cannot be written to {path}: {exc.strerror or exc}; set DINRANK_ADMIN_TOKEN_DIR to a "
                "directory of this account's own, or DINRANK_ADMIN_KEYS_FILE to a file of admin keys"
            ) from exc
        os.environ[TOKEN_DIGEST_VARIABLE] = digest_of(token.encode()).hex()
        log_event(logging.INFO, "admin_token_written", file=path)
        try:
            yield
        finally:
            os.environ.pop(TOKEN_DIGEST_VARIABLE, None)


def token_digest_from_environment() -> bytes | None:
    """Return the digest of the token that the supervisor wrote; None with a file of admin keys."""
    digest = os.environ.get(TOKEN_DIGEST_VARIABLE)
    return None if digest is None else bytes.fromhex(digest)


def _make_directory(directory: Path) -> None:
    """Raises: OSError, BadTokenFile if other accounts could replace the token."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    status = directory.stat()
    if status.st_uid not in (os.getuid(), 0) or status.st_mode & _OTHERS_WRITE:
        raise BadTokenFile(
            f"{directory} is not safe for an admin token, as other accounts can write to it: `chmod go-w` it, or set "
            "DINRANK_ADMIN_TOKEN_DIR to a private directory of this account"
        )


@contextmanager
def _written(path: Path, token: str) -> Iterator[None]:
    """Keep the token at `path`, locked, during the block. Atomic: readers find the whole token.

    Raises: OSError, BadTokenFile.
    """
    new = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    before = _locked(path)
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.write(descriptor, f"{token}\n".encode())
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
    finally:
        os.close(before)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _locked(path: Path) -> int:
    """Open the file at `path`, created if missing, with an exclusive lock, and return its descriptor.

    Raises: OSError, BadTokenFile.
    """
    for _ in range(_MOST_TRIES):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except BlockingIOError:
            break
        os.close(descriptor)
    else:
        raise BadTokenFile(f"{path} keeps being replaced; set DINRANK_ADMIN_TOKEN_DIR to another directory")
    os.close(descriptor)
    raise BadTokenFile(
        f"{path} holds the admin token of another service that runs; set DINRANK_ADMIN_TOKEN_DIR to another directory"
    )
