"""Directories in the making: those of killed processes are removed, those of living ones and all others are not."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dinrank.model.bundle.staging import scratch_directory, staged_directory

ROOT = Path(__file__).parents[4]
WRITER = """
import sys, time
from pathlib import Path
from dinrank.model.bundle.staging import scratch_directory, staged_directory
with staged_directory(Path(sys.argv[1])) as staged, scratch_directory("test") as scratch:
    (staged / "half").write_text("written")
    (scratch / "half").write_text("written")
    print(staged, scratch, flush=True)
    sys.stdin.read()
"""


@contextmanager
def writer(out: Path) -> Iterator[tuple["subprocess.Popen[str]", list[Path]]]:
    """A process amid its work, and its two directories; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(out)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        assert process.stdout is not None
        try:
            yield process, [Path(path) for path in process.stdout.readline().split()]
        finally:
            process.kill()
            process.wait()


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def test_the_next_start_removes_what_a_killed_process_left_and_nothing_of_a_living_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with writer(out) as (living, of_living):
        with writer(out) as (killed, of_killed):
            pass
        assert killed.returncode == -signal.SIGKILL
        assert [path.is_dir() for path in (*of_living, *of_killed)] == [True] * 4
        with staged_directory(out) as staged, scratch_directory("test"):
            (staged / "whole").touch()
            assert [path.is_dir() for path in (*of_living, *of_killed)] == [True, True, False, False]
        assert living.poll() is None
    assert [path.name for path in out.iterdir()] == ["whole"]


def test_names_that_only_look_alike_stay(tmp_path: Path, temporary: Path) -> None:
    unique = "0" * 32
    others = [tmp_path / name for name in (f".out.v2.{unique}", ".out.settings", f"out.{unique}", f".output.{unique}")]
    others.append(temporary / "dinrank-test-mine")
    for path in others:
        path.mkdir()
    link, file = tmp_path / f".out.{'1' * 32}", tmp_path / f".out.{'2' * 32}"
    link.symlink_to(others[0])
    file.touch()
    with staged_directory(tmp_path / "out"), scratch_directory("test"):
        pass
    assert all(path.exists() for path in (*others, link, file))


def test_an_error_that_names_no_file_gets_the_name_of_what_was_written(tmp_path: Path) -> None:
    for error in (OSError(28, "No space left on device"), OSError("12 requested and 0 written")):
        with pytest.raises(OSError, match="No space left on device: '.*/out'"), staged_directory(tmp_path / "out"):
            raise error
    with pytest.raises(OSError, match="No space left on device: '.*/dinrank-test-"), scratch_directory("test"):
        raise OSError(28, "No space left on device")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tmp"]
