"""CPU time, memory and open files of all workers, exposed by any of them."""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import Metric

_FILE_OF_PROCESS = re.compile(r".*_(\d+)\.db")  # prometheus_client's: kind of metric and process id


class ProcessMetrics:
    """The standard `process_*` metrics of the running workers, with a label `pid`; empty without /proc.

    Args:
        directory: of the workers' metrics; None if this process is the only one.
    """

    def __init__(self, *, directory: Path | None, registry: CollectorRegistry) -> None:
        self._directory = directory
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """Implement a `prometheus_client` collector."""
        pids = [os.getpid()] if self._directory is None else sorted(filter(_runs, _worker_pids(self._directory)))
        together: dict[str, Metric] = {}
        for pid in pids:
            for family in _of_process(pid):
                merged = together.setdefault(family.name, Metric(family.name, family.documentation, family.type))
                for sample in family.samples:
                    merged.add_sample(sample.name, {"pid": str(pid)}, sample.value)
        yield from together.values()


def _worker_pids(directory: Path) -> set[int]:
    """Return every process that ever wrote metrics to the directory."""
    found = (_FILE_OF_PROCESS.fullmatch(file.name) for file in directory.iterdir())
    return {int(match[1]) for match in found if match}


def _of_process(pid: int) -> Iterable[Metric]:
    return ProcessCollector(pid=lambda: pid, registry=None).collect()


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError):  # workers belong to this user; another user's process reuses the pid
        return False
    return True
