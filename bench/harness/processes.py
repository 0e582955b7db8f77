"""Server processes and their CPU time."""

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

START_TIMEOUT_S = 120.0


class ServerFailed(Exception):
    """A server did not become ready; the message is its log."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers on a port of this machine."""

    process: "subprocess.Popen[bytes]"
    port: int

    def cpu_s(self) -> float:
        """Return CPU time of all its threads, from the scheduler, in nanoseconds; /proc/PID/stat counts in 10 ms."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text(encoding="ascii").split()[0]) for task in tasks) / 1e9

    def connect(self) -> http.client.HTTPConnection:
        return connect(self.port)


def connect(port: int) -> http.client.HTTPConnection:
    """A keep-alive connection to a server of this machine."""
    return http.client.HTTPConnection("127.0.0.1", port, timeout=60)


def post_rank(connection: http.client.HTTPConnection, body: bytes) -> bytes:
    """Raises: ServerFailed, for any answer but 200."""
    connection.request("POST", "/rank", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.OK:
        raise ServerFailed(f"POST /rank answered {response.status}: {answer.decode()}")
    return answer


def get(connection: http.client.HTTPConnection, path: str) -> str:
    connection.request("GET", path)
    return connection.getresponse().read().decode()


@contextmanager
def serving(bundle: Path, redis_url: str, log: Path, *, workers: int = 1, **settings: str) -> Iterator[Server]:
    """Run `python -m service serve`, as an operator does."""
    command = [sys.executable, "-m", "service", "serve", "--bundle", str(bundle), "--redis", redis_url, "--port", "0"]
    with _process(
        [*command, "--workers", str(workers)], log, settings, r"answers on http://127\.0\.0\.1:(\d+)"
    ) as server:
        yield server


@contextmanager
def serving_plainly(log: Path, **settings: str) -> Iterator[Server]:
    """Run the reference handler under the same uvicorn."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "bench.plain:create_app", "--port", "0"]
    with _process([*command, "--no-access-log"], log, settings, r"running on http://127\.0\.0\.1:(\d+)") as server:
        yield server


@contextmanager
def _process(command: list[str], log: Path, settings: Mapping[str, str], says_port: str) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "DINRANK_LOG_FORMAT": "text", **settings},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Server(process, _port_when_ready(process, log, says_port))
    finally:
        process.terminate()
        process.wait(START_TIMEOUT_S)


def _port_when_ready(process: "subprocess.Popen[bytes]", log: Path, says_port: str) -> int:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        said = re.search(says_port, log.read_text(encoding="utf-8"))
        if said and _answers(int(said[1])):
            return int(said[1])
        time.sleep(0.05)
    raise ServerFailed(log.read_text(encoding="utf-8"))


def _answers(port: int) -> bool:
    """Return whether the server answers, with any status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/livez")
        return bool(connection.getresponse().status)
    except OSError:
        return False
    finally:
        connection.close()
