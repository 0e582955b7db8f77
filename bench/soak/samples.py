"""Resource samples of a service: its workers by process, and its Redis."""

import re
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import psutil
import redis

from bench.harness.processes import Server, get
from bench.soak.load import Window

_PID = re.compile(r'^process_open_fds\{pid="(\d+)"\}', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class WorkerSample:
    """Attributes:
    pss_mb: memory with shared pages divided among the processes that share them; None if unsupported.
    """

    rss_mb: float
    pss_mb: float | None
    files: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample; the requests are those since the sample before."""

    at_s: float
    workers: dict[int, WorkerSample]
    supervisor_rss_mb: float
    redis_clients: int
    redis_mb: float
    requests: int
    failures: dict[str, int]
    degraded: int
    p50_ms: float
    p99_ms: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look(server: Server, store: redis.Redis, window: Window, at_s: float) -> Sample:
    """Take a sample; costs one worker some milliseconds, for its metrics."""
    connection = server.connect()
    pids = [int(pid) for pid in _PID.findall(get(connection, "/metrics"))]
    connection.close()
    info = store.info()
    p50, p99 = np.percentile(window.milliseconds, [50, 99]) if window.milliseconds else (np.nan, np.nan)
    return Sample(
        at_s=round(at_s, 1),
        workers={pid: _worker(psutil.Process(pid)) for pid in pids},
        supervisor_rss_mb=psutil.Process(server.process.pid).memory_info().rss / 1e6,
        redis_clients=info["connected_clients"],
        redis_mb=info["used_memory"] / 1e6,
        requests=len(window.milliseconds),
        failures=dict(window.failures),
        degraded=window.degraded,
        p50_ms=float(p50),
        p99_ms=float(p99),
    )


def _worker(process: psutil.Process) -> WorkerSample:
    memory = process.memory_full_info()
    pss = getattr(memory, "pss", None)  # Linux only
    return WorkerSample(memory.rss / 1e6, None if pss is None else pss / 1e6, process.num_fds())
