"""What a fault happens to: Redis in one of its forms, a service on it, bundles it may serve. All on 127.0.0.1."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import httpx
import redis

from dinrank.model.bundle.reader import open_bundle
from dinrank.service.access.admin_token import token_path
from dinrank.service.store.connection import connect
from dinrank.service.store.embedded import find_redis_server
from dinrank.service.store.redis_writer import RedisFeatureWriter, TimedBehaviour, UserRecord
from tests.chaos.driver import KEY, LATE_AFTER_S, Driver
from tests.chaos.traffic import Users
from tests.fixtures.bundle import SCHEMA, make_bundle

ROOT = Path(__file__).parents[2]
KEYS_FILE = "keys"
HOST = "127.0.0.1"
SERVICE_NAME = "dinrank-chaos"
WORKERS = 2
SHIFT_B = 0.5  # by which the second bundle's formula differs from the first's
_START_TIMEOUT_S = 60.0
_ALL_SLOTS = 16_384
LOWER_SLOTS = 8_192  # the first cluster node has so many, from 0 on


class Topology(StrEnum):
    """How Redis runs."""

    SINGLE = "single"
    SENTINEL = "sentinel"  # a primary, a replica and three Sentinels
    CLUSTER = "cluster"  # two nodes with half of the slots each


class Unmet(Exception):
    """What had to come true did not; the message says what."""


def wait_until(condition: Callable[[], bool], what: str, *, timeout_s: float = _START_TIMEOUT_S) -> None:
    """Raises: Unmet."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise Unmet(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(0.02)


def free_port() -> int:
    """A port whose cluster bus, 10,000 above, is a port too."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port: int = probe.getsockname()[1]
        if port < 55_000:
            return port


class RedisProcess:
    """A redis-server that can be killed and come back at the same port, with the data it had when it saves any."""

    def __init__(self, directory: Path, *arguments: str) -> None:
        self.port = free_port()
        self.client = redis.Redis(port=self.port, retry=None, protocol=2)
        self._directory = directory
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        network = ("--port", str(self.port), "--bind", HOST, "--dir", str(self._directory))
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(find_redis_server()), *self._arguments, *network], stdout=log, stderr=log
            )
        wait_until(self._answers, f"the redis-server at port {self.port} answers")

    def signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def close(self) -> None:
        self.client.close()
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGCONT)
            self.kill()

    def _answers(self) -> bool:
        try:
            return bool(self.client.ping())
        except redis.RedisError:
            return False


class ServiceProcess:
    """`python -m service serve`, as an operator starts it.

    There is a file with the driver's key, which counts only where a setting names it; in settings `{home}` is where it
    lies.
    """

    def __init__(self, directory: Path, bundle: Path, redis_url: str, **settings: str) -> None:
        self.port = free_port()
        self._log = directory / "service.log"
        self._admin_token_dir = directory / "admin"
        self._environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DINRANK_BUNDLE": str(bundle),
            "DINRANK_REDIS": redis_url,
            "DINRANK_PORT": str(self.port),
            "DINRANK_WORKERS": str(WORKERS),
            "DINRANK_ADMIN_TOKEN_DIR": str(self._admin_token_dir),
            **{name: value.replace("{home}", str(directory)) for name, value in settings.items()},
        }
        (directory / KEYS_FILE).write_text(f"{KEY}\n", encoding="ascii")
        self.process: subprocess.Popen[bytes]

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "service", "serve"], cwd=ROOT, env=self._environment, stdout=log, stderr=log
            )
        wait_until(lambda: self.process.poll() is not None or self._all_answer(), "all workers answer")
        if self.process.poll() is not None:
            raise Unmet(f"the service did not start: {self.log()[-2000:]}")

    def worker_pids(self) -> list[int]:
        """Of all workers that ever started, oldest first."""
        return [int(pid) for pid in re.findall(r"Started server process \[(\d+)\]", self.log())]

    def running_workers(self) -> list[int]:
        return [pid for pid in self.worker_pids() if _runs(pid)]

    def log(self) -> str:
        return self._log.read_text(encoding="utf-8") if self._log.exists() else ""

    def forget_log(self) -> None:
        """Before it starts again: what is asked of the log is about the new start."""
        self._log.write_bytes(b"")

    def admin_token(self) -> str:
        return token_path(self._admin_token_dir, HOST, self.port).read_text(encoding="ascii").strip()

    def get(self, path: str) -> httpx.Response:
        return httpx.get(f"http://{HOST}:{self.port}{path}", headers={"X-API-Key": KEY}, timeout=10.0)

    def metric(self, sample: str) -> float:
        """Of all workers together; `sample` is a name and its labels as Prometheus prints them."""
        for line in self.get("/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name == sample:
                return float(value)
        return 0.0

    def terminate(self) -> None:
        self.process.terminate()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30.0)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def _all_answer(self) -> bool:
        if self.log().count("Application startup complete") < WORKERS:
            return False
        try:
            return self.get("/readyz").is_success
        except httpx.TransportError:
            return False


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@dataclass(slots=True)
class Ground:
    """Everything a fault can reach.

    Attributes:
        link: the symlink that the service serves; it points to bundle_a.
        redis: primary and replica; the nodes of the cluster; or the one server.
        unmet: promises that turned out untrue, besides those about single answers.
    """

    directory: Path
    bundle_a: Path
    bundle_b: Path
    link: Path
    redis: Sequence[RedisProcess]
    redis_url: str
    service: ServiceProcess
    users: Users
    driver: Driver
    unmet: list[str] = field(default_factory=list)

    def expect(self, is_so: bool, what: str) -> None:
        if not is_so:
            self.unmet.append(what)

    def publish(self) -> None:
        asyncio.run(_publish(self.redis_url, self.users))

    def switch_to(self, bundle: Path) -> None:
        """Point the link at another bundle, in one step."""
        new = self.link.with_name("next")
        new.symlink_to(bundle)
        new.replace(self.link)

    def version_of(self, bundle: Path) -> str:
        return open_bundle(bundle).manifest.model_version


@contextmanager
def prepared(
    directory: Path, topology: Topology, *, late_after_s: float = LATE_AFTER_S, **settings: str
) -> Iterator[Ground]:
    """Start everything, publish the users, and end what was started with the block."""
    directory.mkdir(parents=True)
    bundle_a, bundle_b = make_bundle(directory / "a"), make_bundle(directory / "b", shift=SHIFT_B)
    link = directory / "current"
    link.symlink_to(bundle_a)
    users = Users.made()
    with ExitStack() as stack:
        servers, url = _STARTERS[topology](directory, stack)
        asyncio.run(_publish(url, users))
        # The limit is generous, as all of this shares the cores: a slow machine is no fault of Redis.
        service = ServiceProcess(directory, link, url, DINRANK_REDIS_TIMEOUT_MS="250", **settings)
        stack.callback(service.close)
        service.start()
        shifts = {
            open_bundle(bundle_a).manifest.model_version: 0.0,
            open_bundle(bundle_b).manifest.model_version: SHIFT_B,
        }
        driver = Driver(service.port, users, shifts, late_after_s=late_after_s)
        yield Ground(directory, bundle_a, bundle_b, link, servers, url, service, users, driver)


async def _publish(url: str, users: Users) -> None:
    records = [
        UserRecord(
            user_id,
            [TimedBehaviour(item, place, {}) for place, item in enumerate(users.histories[user_id])],
            users.profiles[user_id],
        )
        for user_id in users.histories
    ]
    async with aclosing(connect(url, timeout_ms=10_000, max_connections=1)) as connection:
        await RedisFeatureWriter(connection, SCHEMA).write_users(records)


def _start_single(directory: Path, stack: ExitStack) -> tuple[list[RedisProcess], str]:
    # It writes every change down, as the compose stack's does, so that it comes back with what it had.
    server = _started(directory / "redis", stack, "--save", "", "--appendonly", "yes")
    return [server], f"redis://{HOST}:{server.port}"


def _start_sentinel(directory: Path, stack: ExitStack) -> tuple[list[RedisProcess], str]:
    primary = _started(directory / "primary", stack, "--save", "")
    replica = _started(directory / "replica", stack, "--save", "", "--replicaof", HOST, str(primary.port))
    wait_until(lambda: replica.client.info("replication")["master_link_status"] == "up", "the replica is in step")
    sentinels = []
    for number in range(3):
        home = directory / f"sentinel-{number}"
        home.mkdir()
        config = home / "sentinel.conf"
        config.write_text(
            f"sentinel monitor {SERVICE_NAME} {HOST} {primary.port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE_NAME} 500\n"
            f"sentinel failover-timeout {SERVICE_NAME} 3000\n",
            encoding="ascii",
        )
        sentinels.append(_started(home, stack, str(config), "--sentinel"))
    wait_until(lambda: all(_knows_everyone(sentinel) for sentinel in sentinels), "the Sentinels know each other")
    hosts = ",".join(f"{HOST}:{sentinel.port}" for sentinel in sentinels)
    return [primary, replica], f"redis+sentinel://{hosts}/{SERVICE_NAME}"


def _knows_everyone(sentinel: RedisProcess) -> bool:
    state = sentinel.client.execute_command("SENTINEL MASTER", SERVICE_NAME)
    return state["num-other-sentinels"] == 2 and state["num-slaves"] == 1


def _start_cluster(directory: Path, stack: ExitStack) -> tuple[list[RedisProcess], str]:
    # A half answers for itself while the other is away.
    arguments = ("--save", "", "--appendonly", "yes", "--cluster-enabled", "yes")
    nodes = [
        _started(directory / f"node-{number}", stack, *arguments, "--cluster-require-full-coverage", "no")
        for number in range(2)
    ]
    for node, slots in zip(nodes, (range(LOWER_SLOTS), range(LOWER_SLOTS, _ALL_SLOTS)), strict=True):
        node.client.execute_command("CLUSTER ADDSLOTS", *slots)
    nodes[1].client.execute_command("CLUSTER MEET", HOST, nodes[0].port)
    wait_until(lambda: all(_sees_both(node) for node in nodes), "the cluster is whole")
    return nodes, f"redis+cluster://{HOST}:{nodes[0].port},{HOST}:{nodes[1].port}"


def _sees_both(node: RedisProcess) -> bool:
    info = node.client.execute_command("CLUSTER INFO")
    return info["cluster_state"] == "ok" and info["cluster_size"] == "2"


def _started(home: Path, stack: ExitStack, *arguments: str) -> RedisProcess:
    server = RedisProcess(home, *arguments)
    stack.callback(server.close)
    server.start()
    return server


_STARTERS = {
    Topology.SINGLE: _start_single,
    Topology.SENTINEL: _start_sentinel,
    Topology.CLUSTER: _start_cluster,
}
