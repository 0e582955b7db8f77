"""Start and stop the services under load, each as its users start it, stopped by its own process ids."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.harness.load import HOST
from bench.serving.setting import WORKERS

ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 15.0
_LOG_TAIL_LINES = 20
# One thread each for every library: there are as many workers as cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


class ServiceFailed(Exception):
    """A service did not start, or ended; the message has the end of its log."""


@dataclass(frozen=True, slots=True)
class Command:
    """Command to start a service.

    Attributes:
        arguments: `{port}` stands for the port to listen on.
        environment: variables in addition to ours.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]


def dinrank(bundle: Path, redis: str) -> Command:
    serve = (sys.executable, "-m", "service", "serve", "--bundle", str(bundle), "--redis", redis)
    # The others wait for Redis without a limit. An answer without the history would be cheaper.
    return Command((*serve, "--port", "{port}", "--workers", str(WORKERS)), {"DINRANK_REDIS_TIMEOUT_MS": "5000"})


def naive(rows_network: Path, redis: str, num_behaviours: int) -> Command:
    server = (sys.executable, "-m", "uvicorn", "bench.serving.services.naive:app", "--host", HOST, "--port", "{port}")
    options = ("--workers", str(WORKERS), "--no-access-log", "--log-level", "warning")
    return Command((*server, *options), _environment(rows_network, redis, num_behaviours))


def bentoml(rows_network: Path, redis: str, num_behaviours: int) -> Command:
    program = environment_of("bentoml") / "bentoml"
    server = (str(program), "serve", "bench.serving.services.bento:Ranker", "--quiet", "--do-not-track")
    return Command((*server, "--host", HOST, "--port", "{port}"), _environment(rows_network, redis, num_behaviours))


def litserve(rows_network: Path, redis: str, num_behaviours: int) -> Command:
    python = environment_of("litserve") / "python"
    return Command((str(python), "-m", "bench.serving.services.lit"), _environment(rows_network, redis, num_behaviours))


def environment_of(library: str) -> Path:
    """Return the programs' folder of a library's own environment, which `make bench` makes."""
    return ROOT / ".bench" / library / "bin"


def _environment(rows_network: Path, redis: str, num_behaviours: int) -> dict[str, str]:
    return {
        "BENCH_ROWS_NETWORK": str(rows_network),
        "BENCH_REDIS": redis,
        "BENCH_NUM_BEHAVIOURS": str(num_behaviours),
        "BENCH_WORKERS": str(WORKERS),
        "BENCH_PORT": "{port}",
    }


class Server:
    """A running service."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], port: int, log: Path) -> None:
        self.name = name
        self.port = port
        self._process = process
        self._log = log

    def rank(self, body: bytes) -> dict[str, Any]:
        """Raises: ServiceFailed, if the answer is not 200."""
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}/rank", data=body, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=_START_TIMEOUT_S) as response:
                answer: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as exc:
            raise ServiceFailed(f"{self.name} answered {exc.code}: {exc.read()[:500]!r}\n{self.log_tail()}") from exc
        return answer

    def cpu_seconds(self) -> float:
        """Return CPU seconds of all its running processes, from their start."""
        processes = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        return sum(times.user + times.system for times in (process.cpu_times() for process in processes))

    def wait_until_ready(self, body: bytes) -> None:
        """Raises: ServiceFailed."""
        deadline = time.monotonic() + _START_TIMEOUT_S
        while True:
            try:
                self.rank(body)
            except (OSError, ServiceFailed) as exc:
                # A URLError is an OSError: nobody listens yet. Some answer 5xx until their workers are up.
                if self._process.poll() is not None or time.monotonic() > deadline:
                    raise ServiceFailed(f"{self.name} does not answer: {exc}\n{self.log_tail()}") from exc
                time.sleep(0.2)
            else:
                return

    def log_tail(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "\n".join([f"the end of what {self.name} said:", *lines])


@contextmanager
def running(name: str, command: Command, body: bytes) -> Iterator[Server]:
    """Start a service, wait until it has answered `body`, and stop it with all its processes.

    Raises:
        ServiceFailed
    """
    port = free_port()
    arguments = [argument.format(port=port) for argument in command.arguments]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(ROOT)}
    environment |= {key: value.format(port=port) for key, value in command.environment.items()}
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                arguments, cwd=ROOT, env=environment, stdout=output, stderr=output, start_new_session=True
            )
        try:
            server = Server(name, process, port, log)
            server.wait_until_ready(body)
            yield server
        finally:
            _stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Stop the processes of the session that we started, and no other."""
    family = [process.pid, *(child.pid for child in _children(process.pid))]
    process.send_signal(signal.SIGTERM)
    _, alive = psutil.wait_procs(_running_processes(family), timeout=_STOP_TIMEOUT_S)
    for straggler in alive:
        straggler.kill()
    process.wait()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _running_processes(pids: list[int]) -> list[psutil.Process]:
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    return processes
