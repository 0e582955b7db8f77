"""Number of usable cores: limited by CPU affinity and the container's quota, not just by the machine."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_CGROUP_ROOT = Path("/sys/fs/cgroup")
_OWN_CGROUPS = Path("/proc/self/cgroup")


def usable_cores(*, root: Path = _CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int:
    """Count the cores that this process may run on, or its CPU quota rounded up if that is less; at least 1.

    The quota is the tightest one of the process's control group and its parents: `cpu.max` in version 2,
    `cpu.cfs_quota_us` in version 1. Without control groups, as on macOS, only the cores count.

    Args:
        root: mount point of the control groups.
        own: file with the groups of this process, one per line.
    """
    return max(1, min([_schedulable_cores(), *(math.ceil(quota) for quota in _quotas(root, own))]))


def _schedulable_cores() -> int:
    # macOS has no sched_getaffinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _quotas(root: Path, own: Path) -> Iterator[float]:
    """Yield the quota in cores of each group that limits this process."""
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        is_version_2 = not controllers
        if is_version_2 or "cpu" in controllers.split(","):
            # In a container the mount often starts at the container's own group, so the path may not exist; the
            # mount's root is read in any case.
            for directory in (PurePosixPath(path), *PurePosixPath(path).parents):
                group = (root if is_version_2 else root / controllers) / directory.relative_to("/")
                yield from _version_2_quota(group) if is_version_2 else _version_1_quota(group)


def _version_2_quota(group: Path) -> Iterator[float]:
    match _text(group / "cpu.max").split():
        case [quota, period] if quota != "max":
            yield int(quota) / int(period)


def _version_1_quota(group: Path) -> Iterator[float]:
    match _text(group / "cpu.cfs_quota_us").split(), _text(group / "cpu.cfs_period_us").split():
        case [quota], [period] if int(quota) > 0:  # -1 is no limit
            yield int(quota) / int(period)


def _text(file: Path) -> str:
    """Return the content; empty if there is no such file, as at the root of the control groups."""
    try:
        return file.read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return ""
