"""Room for the embedded Redis, and installed libraries."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

from dinrank.service.doctor.embedded_data import LEAST_FREE_BYTES, check_embedded_data, disk_findings, memory_findings
from dinrank.service.doctor.libraries import check_libraries, check_python, check_requirements
from dinrank.service.doctor.report import Level
from dinrank.service.settings import Settings

GIGABYTE = 1_000_000_000


@pytest.mark.parametrize(
    ("size", "free", "level"),
    [
        (0, LEAST_FREE_BYTES, Level.OK),
        (0, LEAST_FREE_BYTES - 1, Level.WRONG),
        (2 * GIGABYTE, 4 * GIGABYTE, Level.OK),
        (2 * GIGABYTE, 4 * GIGABYTE - 1, Level.WARNING),
    ],
)
def test_the_disk_needs_room_for_the_data_twice(size: int, free: int, level: Level) -> None:
    [finding] = disk_findings(Path("data"), size, free)
    assert finding.level is level
    assert (level is Level.OK) == (finding.remedy == "")


def test_memory_needs_room_for_the_data_twice() -> None:
    assert [finding.level for finding in memory_findings(GIGABYTE, 2 * GIGABYTE)] == [Level.OK]
    assert [finding.level for finding in memory_findings(GIGABYTE, 2 * GIGABYTE - 1)] == [Level.WARNING]
    assert memory_findings(GIGABYTE, None) == []


def test_the_data_directory_is_measured_whether_it_is_there_or_not(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    (tmp_path / "appendonlydir" / "file").write_bytes(b"x" * 3_000_000)
    assert "holds 3 MB" in check_embedded_data(tmp_path)[0].message
    assert "holds 0 MB" in check_embedded_data(tmp_path / "not" / "yet")[0].message


def test_a_library_out_of_bounds_is_wrong_and_says_what_to_install() -> None:
    [finding] = check_requirements([Requirement("numpy<1"), Requirement("numpy>=1")])
    assert finding.level is Level.WRONG
    assert finding.remedy == "pip install 'numpy<1'"


def test_a_library_that_is_missing_is_wrong() -> None:
    [finding] = check_requirements([Requirement("no-such-library>=3,<4")])
    assert (finding.level, finding.remedy) == (Level.WRONG, "pip install 'no-such-library<4,>=3'")


def test_a_python_out_of_bounds_is_wrong() -> None:
    assert check_python(">=3.11") == check_python(None) == []
    assert [finding.level for finding in check_python("<3")] == [Level.WRONG]


def test_the_installed_libraries_are_within_the_declared_bounds() -> None:
    settings = Settings.read(bundle=Path("b"), trace_endpoint="http://127.0.0.1:4318/v1/traces")
    assert [finding.level for finding in check_libraries(settings)] == [Level.OK]


def test_a_checkout_that_was_not_installed_is_a_warning() -> None:
    [finding] = check_libraries(Settings.read(bundle=Path("b")), package="not-installed")
    assert (finding.level, finding.remedy.startswith("pip install 'not-installed[service")) == (Level.WARNING, True)
