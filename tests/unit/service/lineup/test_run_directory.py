"""The service's own directory: there while it runs, gone afterwards, even after it was killed."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from dinrank.service.lineup.run_directory import NoRunDirectory, run_directory


def test_it_is_for_this_user_alone_and_gone_afterwards(tmp_path: Path) -> None:
    with run_directory(tmp_path) as directory:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        (directory / "file").touch()
        assert list(tmp_path.iterdir()) == [directory]
    assert list(tmp_path.iterdir()) == []


def test_one_that_a_killed_process_left_is_removed_and_one_in_use_is_not(tmp_path: Path) -> None:
    code = (
        "import os, pathlib, sys; from dinrank.service.lineup.run_directory import run_directory\n"
        "with run_directory(pathlib.Path(sys.argv[1])) as directory:\n"
        "    (directory / 'file').touch(); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    (left,) = tmp_path.iterdir()
    assert (left / "file").exists()
    with run_directory(tmp_path) as first, run_directory(tmp_path) as second:
        assert set(tmp_path.iterdir()) == {first, second}


def test_a_place_that_cannot_be_written_to_is_said_with_the_setting(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(NoRunDirectory, match=r"own files in .*file/below: .*set DINRANK_RUN_DIR"),
        run_directory(tmp_path / "file" / "below"),
    ):
        pass
