"""Checks of disk space and memory for the embedded Redis, whose data are in memory and in a log on disk."""

import shutil
from pathlib import Path

from dinrank.service.doctor.report import Finding, ok, warning, wrong

CHECK = "embedded redis"
LEAST_FREE_BYTES = 200_000_000
_MEGABYTE = 1e6
_MEMINFO = Path("/proc/meminfo")


def check_embedded_data(data_dir: Path) -> list[Finding]:
    """Check disk space and memory. Redis rewrites its log from time to time, beside the old one: it needs twice the
    space.
    """
    size = sum(file.stat().st_size for file in data_dir.rglob("*") if file.is_file()) if data_dir.is_dir() else 0
    existing = next(parent for parent in (data_dir, *data_dir.resolve().parents) if parent.exists())
    return [*disk_findings(data_dir, size, shutil.disk_usage(existing).free), *memory_findings(size, _available())]


def disk_findings(data_dir: Path, size: int, free: int) -> list[Finding]:
    message = f"{data_dir} holds {size / _MEGABYTE:,.0f} MB, and {free / _MEGABYTE:,.0f} MB are free on its disk"
    remedy = "make room, or set DINRANK_REDIS_DATA_DIR to a larger disk"
    if free < LEAST_FREE_BYTES:
        return [wrong(CHECK, f"{message}: on a full disk Redis accepts no more behaviours", remedy)]
    if free < 2 * size:
        return [warning(CHECK, f"{message}: rewriting its log may fill the disk", remedy)]
    return [ok(CHECK, message)]


def memory_findings(size: int, available: int | None) -> list[Finding]:
    """Compare the data with the available memory; no finding if the system does not report it."""
    if available is None:
        return []
    message = f"{available / _MEGABYTE:,.0f} MB of memory are available, for data of {size / _MEGABYTE:,.0f} MB"
    if available < 2 * size:
        remedy = "give the machine more memory, keep fewer behaviours per user, or use a Redis elsewhere"
        return [warning(CHECK, f"{message}: it may be killed when memory runs out", remedy)]
    return [ok(CHECK, message)]


def _available() -> int | None:
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:  # macOS
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return sizes[0] if sizes else None
