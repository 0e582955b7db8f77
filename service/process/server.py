"""The uvicorn server: listening sockets, one or several workers, graceful shutdown on SIGTERM or Ctrl-C."""

import errno
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType

from dinrank.service.lineup.run_directory import RUN_DIRECTORY_VARIABLE
from dinrank.service.process.open_files import raise_file_limit
from dinrank.service.process.protocol import ConnectionLimits
from dinrank.service.process.signals import SUPERVISOR_PID_VARIABLE
from dinrank.service.process.stopping import DrainingServer, ServerConfig
from dinrank.service.process.supervisor import Supervisor
from dinrank.service.settings import Settings
from dinrank.service.telemetry.logs import log_config
from dinrank.service.telemetry.metrics import MULTIPROCESS_DIR_VARIABLE

GRACE_S = 10  # how long requests in flight may take to end when the service stops


class CannotListen(Exception):
    """The address is in use, not this machine's, or not permitted."""


@contextmanager
def listening_socket(
    host: str, port: int, *, advice: str = "; --port takes another, 0 a free one"
) -> Iterator[socket.socket]:
    """Open a TCP socket bound to an address; port 0 takes a free one.

    Args:
        advice: appended to the message if the port is in use.

    Raises:
        CannotListen: the message names the address and the reason.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is explicit because asyncio sets TCP_NODELAY only on sockets that are declared as TCP.
    with socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as exc:
            what_to_do = advice if exc.errno == errno.EADDRINUSE else ""
            raise CannotListen(f"cannot listen on {host} port {port}: {exc.strerror}{what_to_do}") from exc
        yield bound


@contextmanager
def listening_sockets(settings: Settings) -> Iterator[list[socket.socket]]:
    """Open the main socket, and the one for probes if it is configured.

    Raises:
        CannotListen
    """
    with ExitStack() as stack:
        sockets = [stack.enter_context(listening_socket(settings.host, settings.port))]
        if settings.probe_port:
            advice = "; DINRANK_PROBE_PORT names another"
            sockets.append(stack.enter_context(listening_socket(settings.host, settings.probe_port, advice=advice)))
        yield sockets


def http_address(bound: socket.socket, *, is_tls: bool) -> str:
    """Return the URL of a bound socket."""
    host, port = bound.getsockname()[:2]
    scheme = "https" if is_tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


@contextmanager
def exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into SystemExit with code 0, so that all open resources are closed.

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


def run_server(settings: Settings, sockets: list[socket.socket], directory: Path) -> None:
    """Serve until a signal arrives; passes `settings` to the workers through the environment, which it changes.

    Args:
        directory: the run directory, with the copies of bundles.

    Raises:
        NoWorkerLeft
    """
    os.environ.update(settings.to_environment())
    os.environ[RUN_DIRECTORY_VARIABLE] = str(directory)
    limits = ConnectionLimits.of(settings, max_connections=raise_file_limit(settings))
    config = ServerConfig(
        "dinrank.service.app:create_app_from_environment",
        factory=True,
        workers=settings.workers,
        lifespan="on",
        limits=limits,
        ws="none",
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
        proxy_headers=False,  # a caller is identified by its connection: X-Forwarded-For can be forged
        access_log=False,  # a line per request costs more than it is worth; metrics count requests
        server_header=False,
        log_level=settings.log_level,
        log_config=log_config(settings.log_level, settings.log_format),
        timeout_graceful_shutdown=GRACE_S,
    )
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until workers can reload; on start they check the path anyway
    if settings.workers == 1:
        DrainingServer(config, drain_ms=settings.drain_ms).run(sockets=sockets)
        return
    os.environ[MULTIPROCESS_DIR_VARIABLE] = str(directory)
    os.environ[SUPERVISOR_PID_VARIABLE] = str(os.getpid())
    Supervisor(config, sockets=sockets, drain_ms=settings.drain_ms).run()
