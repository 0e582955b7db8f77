"""What callers can do to the service with connections alone."""

import resource
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tests.chaos.beside import beside
from tests.chaos.driver import CUT_OFF
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, Ground
from tests.chaos.load_faults import healthy
from tests.chaos.traffic import requests
from tests.fixtures.command import served
from tests.fixtures.tls import make_certificate

_CROWD = 1_500
_FEW_FILES = 40  # that a worker may open beside those that it has
_FEW_PLACES = {"DINRANK_MAX_CONNECTIONS": "100"}
_HEAD = "POST /rank HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
_NO_LINGER = struct.pack("ii", 1, 0)
_CALLERS = 5
# Whoever sends on a connection in the instant in which it gives way has to send again.
_GAVE_WAY = frozenset({CUT_OFF})


def _ranking() -> bytes:
    body = next(requests()).body()
    return f"{_HEAD}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextmanager
def _idle(ground: Ground) -> Iterator[None]:
    """One caller opens more connections than the workers keep, and asks nothing."""
    with _crowd(ground.service.port), healthy(ground):
        yield


@contextmanager
def _half_heads(ground: Ground) -> Iterator[None]:
    """The same with the beginning of a request on each, which never ends."""
    with _crowd(ground.service.port, sends=b"POST /rank HT"), healthy(ground):
        yield


@contextmanager
def _endless_handshakes(ground: Ground) -> Iterator[None]:
    """The same with a service beside this one that speaks TLS; nobody says as much as hello."""
    directory = ground.directory / "tls"
    directory.mkdir(exist_ok=True)
    certificate = make_certificate(directory)
    settings = {
        "DINRANK_TLS_CERTIFICATE": str(certificate.certificate),
        "DINRANK_TLS_KEY": str(certificate.key),
        **_FEW_PLACES,
    }
    with served(directory, ground.bundle_a, "--redis", ground.redis_url, **settings) as service:
        with _crowd(int(service.address.rpartition(":")[2])), healthy(ground, service.address):
            yield
        ground.expect("Traceback" not in service.output.read_text(), "there is no traceback")


@contextmanager
def _crowd(port: int, *, sends: bytes = b"") -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(_CROWD):
            connection = stack.enter_context(socket.create_connection((HOST, port), timeout=10.0))
            with suppress(ConnectionError):  # it had to give way already
                connection.sendall(sends)
        yield


@contextmanager
def _out_of_files(ground: Ground) -> Iterator[None]:
    """More connections come than the workers may open files."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in ground.service.running_workers()}
    try:
        for pid, (_, most) in before.items():
            num_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (num_open + _FEW_FILES, most))
        with _crowd(ground.service.port):
            yield
    finally:
        for pid, limits in before.items():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    num_lines = ground.service.log().count("cannot_accept")
    ground.expect(1 <= num_lines <= len(before), f"each worker says once that it has no files, and not {num_lines}")


@contextmanager
def _cut_pipelines(ground: Ground) -> Iterator[None]:
    """Callers that send several requests at once and reset the connection at some moment of the answers."""
    bugs = _bugs(ground)

    def call(number: int) -> None:
        with suppress(OSError), socket.create_connection((HOST, ground.service.port), timeout=10.0) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            connection.sendall(_ranking() * (1 + number % 17))
            if number % 3:
                connection.recv(1 + 997 * (number % 13))

    with _repeated(call), healthy(ground):
        yield
    ground.expect(_bugs(ground) == bugs, f"a caller that leaves is no bug: {_bugs(ground) - bugs} lines say so")


@contextmanager
def _half_closed(ground: Ground) -> Iterator[None]:
    """Callers that send a request, or a few, say that they send no more, and read to the end."""
    seen: Counter[str] = Counter()

    def call(number: int) -> None:
        count = 1 + number % 5
        with socket.create_connection((HOST, ground.service.port), timeout=10.0) as connection:
            connection.sendall(_ranking() * count)
            connection.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        seen["all answered" if answer.count(b"HTTP/1.1 200 OK") == count else "not all answered"] += 1

    with _repeated(call), healthy(ground):
        yield
    ground.expect(seen.keys() == {"all answered"}, f"whoever sends no more gets its answers, and not {seen}")


@contextmanager
def _endless_pipelines(ground: Ground) -> Iterator[None]:
    """Callers that send more requests at once than may wait: the first are answered, then comes a refusal."""
    seen: Counter[str] = Counter()

    def call(number: int) -> None:
        with socket.create_connection((HOST, ground.service.port), timeout=10.0) as connection:
            connection.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
            answer = b"".join(iter(lambda: connection.recv(65_536), b""))
        is_right = answer.count(b"HTTP/1.1 200 OK") == 17 and answer.count(b"HTTP/1.1 503 ") == 1
        seen["answered, then refused" if is_right else "otherwise"] += 1

    with _repeated(call), healthy(ground):
        yield
    ground.expect(seen.keys() == {"answered, then refused"}, f"each is answered as promised, and not {seen}")


@contextmanager
def _repeated(call: Callable[[int], None]) -> Iterator[None]:
    """Some threads that call again and again while the block runs."""

    def again(over: threading.Event) -> None:
        number = 0
        while not over.wait(0.02):
            call(number)
            number += 1

    with ExitStack() as stack:
        for _ in range(_CALLERS):
            stack.enter_context(beside(again))
        yield


def _bugs(ground: Ground) -> int:
    """Lines of the log that page somebody."""
    return sum(map(ground.service.log().count, ("Traceback", "internal-error")))


CONNECTION_FAULTS = (
    Fault("idle connections of one caller", _idle, promised=_GAVE_WAY, settings=_FEW_PLACES),
    Fault("beginnings of requests without an end", _half_heads, promised=_GAVE_WAY, settings=_FEW_PLACES),
    Fault("TLS handshakes without an end", _endless_handshakes),
    Fault("more connections than files", _out_of_files, promised=_GAVE_WAY, lasts_s=6.0),
    Fault("pipelines that are reset", _cut_pipelines),
    Fault("callers that send no more and wait", _half_closed),
    Fault("pipelines that are too long", _endless_pipelines),
)
