"""uvicorn: the listening socket, one or several workers, and an orderly end on SIGTERM or Ctrl-C."""

import errno
import logging
import multiprocessing
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import uvicorn
import uvicorn._subprocess

from service.logs import log_config
from service.protocol import limited_protocol
from service.run_directory import RUN_DIRECTORY_VARIABLE
from service.settings import Settings
from service.stopping import DrainingServer
from service.supervisor import Supervisor
from service.telemetry import MULTIPROCESS_DIR_VARIABLE, log_event
from service.worker import SUPERVISOR_PID_VARIABLE

_LONGEST_TEMPORARY_PATH = 107 - len("/pymp-12345678/listener-12345678")  # a socket's path has 107 bytes at most
GRACE_S = 10  # how long requests in flight may take to end when the service stops


class CannotListen(Exception):
    """The address is taken, not this machine's, or not allowed."""


@contextmanager
def listening_socket(host: str, port: int) -> Iterator[socket.socket]:
    """A TCP socket bound to an address; a port of 0 takes a free one.

    Raises:
        CannotListen: the message names the address and why.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio switches Nagle's delay off for sockets only that say they are TCP.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as exc:
            advice = "; --port takes another, 0 a free one" if exc.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"cannot listen on {host} port {port}: {exc.strerror}{advice}") from exc
        yield bound


def http_address(bound: socket.socket, *, is_tls: bool) -> str:
    """The URL under which the socket is reached."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into SystemExit with code 0, so that everything that was opened is closed.

    Further signals are ignored: they would interrupt the closing.
    """

    def leave(number: int, frame: FrameType | None) -> None:
        for stopping in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stopping, signal.SIG_IGN)
        sys.exit(0)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def run_server(settings: Settings, bound: socket.socket, directory: Path) -> None:
    """Serve on `bound` until a signal comes; workers read `settings` from the environment, which is changed.

    Args:
        directory: of the service's own, which has its copies of bundles.

    Raises:
        NoWorkerLeft
    """
    os.environ.update(settings.to_environment())
    os.environ[RUN_DIRECTORY_VARIABLE] = str(directory)
    config = uvicorn.Config(
        "service.app:create_app_from_environment",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        http=limited_protocol(settings),  # type: ignore[arg-type]  # uvicorn calls it and looks no further
        ws="none",
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        proxy_headers=False,  # who a caller is, is who connects: X-Forwarded-For may say anything
        access_log=False,  # a line per request costs more than it tells; metrics count them
        server_header=False,
        log_level=settings.log_level,
        log_config=log_config(settings.log_level, settings.log_format),
        timeout_graceful_shutdown=GRACE_S,
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until workers can do what it asks for, which they do then anyway
    if settings.workers == 1:
        DrainingServer(config, drain_ms=settings.drain_ms).run(sockets=[bound])
        return
    os.environ[MULTIPROCESS_DIR_VARIABLE] = str(directory)
    os.environ[SUPERVISOR_PID_VARIABLE] = str(os.getpid())
    _fork_workers()
    Supervisor(config, sockets=[bound], drain_ms=settings.drain_ms).run()


def _fork_workers() -> None:
    """Have uvicorn fork its workers from one process that has imported everything, so that they share these pages.

    By itself it starts a new interpreter for each, which takes about 40 MB more per worker; it has no setting for it.
    Without the attribute that is set here, workers would start as before and be only larger. So they do where the path
    of the folder for temporary files leaves no room for the fork server's socket.
    """
    if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TEMPORARY_PATH:
        log_event(
            logging.INFO, "workers_not_forked", reason="the path of the temporary folder is too long for a socket"
        )
        return
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["service.preloaded"])
    uvicorn._subprocess.spawn = context  # type: ignore[assignment]  # another way to start, the same interface
