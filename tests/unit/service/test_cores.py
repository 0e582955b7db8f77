"""How many cores the service takes for its own, on made-up control groups."""

import os
from pathlib import Path

import pytest

from dinrank.service.cores import usable_cores

V2_POD = "0::/kubepods/pod1\n"
V1_POD = "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n2:cpuset:/docker/a\n"


@pytest.fixture(autouse=True)
def eight_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)


def cores(directory: Path, own: str, files: dict[str, str]) -> int:
    """With these control groups; `own` is what /proc/self/cgroup says."""
    (directory / "own").write_text(own)
    for name, text in files.items():
        file = directory / "groups" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return usable_cores(root=directory / "groups", own=directory / "own")


@pytest.mark.parametrize(
    ("cpu_max", "expected"),
    [
        ("max 100000", 8),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("50000 100000", 1),
        ("25000 50000", 1),
        ("1600000 100000", 8),
    ],
)
def test_a_quota_of_version_2_counts_rounded_up(tmp_path: Path, cpu_max: str, expected: int) -> None:
    assert cores(tmp_path, V2_POD, {"kubepods/pod1/cpu.max": f"{cpu_max}\n"}) == expected


def test_the_tightest_group_around_the_process_counts(tmp_path: Path) -> None:
    files = {"kubepods/pod1/cpu.max": "600000 100000\n", "kubepods/cpu.max": "300000 100000\n"}
    assert cores(tmp_path, V2_POD, files) == 3


def test_inside_a_container_the_quota_lies_at_the_mounts_root(tmp_path: Path) -> None:
    assert cores(tmp_path, V2_POD, {"cpu.max": "400000 100000\n"}) == 4
    assert cores(tmp_path, "0::/\n", {"cpu.max": "400000 100000\n"}) == 4


@pytest.mark.parametrize(("quota", "expected"), [("-1", 8), ("250000", 3), ("10000", 1)])
def test_a_quota_of_version_1_counts_too(tmp_path: Path, quota: str, expected: int) -> None:
    group = "cpu,cpuacct/docker/a"
    files = {f"{group}/cpu.cfs_quota_us": f"{quota}\n", f"{group}/cpu.cfs_period_us": "100000\n"}
    assert cores(tmp_path, V1_POD, files) == expected


def test_the_cores_that_the_scheduler_grants_are_the_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2}, raising=False)
    assert cores(tmp_path, V2_POD, {"cpu.max": "400000 100000\n"}) == 1


def test_without_control_groups_all_cores_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = tmp_path / "nowhere"
    assert usable_cores(root=nowhere, own=nowhere) == 8
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores(root=nowhere, own=nowhere) == 1


def test_this_machine_has_a_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
