"""A place that cannot be written ends each command with one line: what, where, what to do. As the system says it."""

import errno
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dinrank.training import __main__ as command_line
from dinrank.training.output.disk import explain
from tests.fixtures import bundle as formula

WRITERS = {
    "train": ["train", "--data", "DATA", "--model", "lr", "--epochs", "1", "--out", "OUT"],
    "prepare": ["prepare", "logs", "--impressions", "LOG", "--feature", "item_id=single", "OUT"],
    "fetch": ["fetch", "OUT"],
    "table": ["table", "--bundle", "BUNDLE", "--data", "DATA", "--out", "OUT"],
    "compare": ["compare", "--data", "DATA", "--models", "lr", "--seeds", "1", "--out", "OUT"],
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "clicks.csv"
    rows = [f"u{row % 7},i{row % 11},{row % 2},{row}" for row in range(60)]
    file.write_text("\n".join(["user_id,item_id,clicked,timestamp", *rows]), encoding="utf-8")
    return file


@contextmanager
def small_disk(folder: Path, options: str) -> Iterator[Path]:
    """A disk of its own; unmounted at the end."""
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root with the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def line_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    """The one line with which the command ends."""
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    with pytest.raises(SystemExit) as ended:
        command_line.main()
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    return line


def filled(arguments: list[str], **places: Path) -> list[str]:
    return [str(places.get(argument, argument)) for argument in arguments]


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_below_a_file_is_one_line(
    name: str,
    dataset_path: Path,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = formula.make_bundle(tmp_path / "bundle")
    arguments = filled(WRITERS[name], DATA=dataset_path, LOG=log, BUNDLE=bundle, OUT=log / "below" / "out")
    line = line_of(monkeypatch, capsys, arguments)
    assert line.startswith(f"error: {log}/below")
    assert line.endswith("Not a directory; name another place")


@pytest.mark.parametrize("name", WRITERS)
def test_a_read_only_disk_is_one_line_before_any_work(
    name: str,
    dataset_path: Path,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    bundle = formula.make_bundle(tmp_path / "bundle")
    with small_disk(tmp_path / "disk", "ro") as disk:
        arguments = filled(WRITERS[name], DATA=dataset_path, LOG=log, BUNDLE=bundle, OUT=disk / "out")
        line = line_of(monkeypatch, capsys, arguments)
    assert line.startswith(f"error: {disk}/")
    assert "Read-only file system; nothing can be written there: name another place" in line


@pytest.mark.parametrize("name", ["train", "prepare", "compare"])
def test_a_full_disk_is_one_line_and_nothing_half_written_stays(
    name: str,
    dataset_path: Path,
    log: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with small_disk(tmp_path / "disk", "size=4k") as disk:
        arguments = filled(WRITERS[name], DATA=dataset_path, LOG=log, OUT=disk / "out")
        line = line_of(monkeypatch, capsys, arguments)
        left = [path.name for path in disk.iterdir() if name != "compare"]
    assert f"no room on a disk: {disk}/" in line
    assert "(0.0 MB are free)" in line
    assert "Make room where the output lies" in line
    assert left == []


def test_a_full_disk_below_a_dataset_is_one_line_without_a_mount(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A limit on the size of files stands for the disk; polars has an error of its own for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400, hard))
    try:
        line = line_of(monkeypatch, capsys, filled(WRITERS["prepare"], LOG=log, OUT=tmp_path / "out"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "no room on a disk" in line
    assert [path.name for path in tmp_path.iterdir()] == ["clicks.csv"]


def test_a_missing_right_and_a_broken_disk_say_what_to_do() -> None:
    assert explain(PermissionError(errno.EACCES, "Permission denied", "/a")) == (
        "/a: Permission denied; change the rights there, or name another place"
    )
    broken = explain(OSError(errno.EIO, "Input/output error", "/a"))
    assert broken.startswith("/a: Input/output error; the system refused that. Run it again")
    nowhere = "No usable temporary directory found in ['/tmp']"
    assert explain(FileNotFoundError(errno.ENOENT, nowhere)) == f"{nowhere}; name another place"
    assert explain(FileExistsError("the bundle exists; choose another")) == "the bundle exists; choose another"
