"""What executes the documents: it fails where a reader would, and leaves nothing behind."""

from pathlib import Path

import psutil
import pytest

from tests.docs.blocks import ROOT, Block
from tests.docs.page import BlockFailed, execute


def page(*texts: str, language: str = "bash") -> list[Block]:
    return [Block(ROOT / "invented.md", line, language, None, text, None) for line, text in enumerate(texts, 1)]


def test_blocks_share_a_directory_and_a_shell(tmp_path: Path) -> None:
    executed = execute(page("echo 7 > file; answer=42\n", "cat file; echo $answer\n"), tmp_path)
    assert executed.printed[1].split() == ["7", "42"]


def test_a_command_that_fails_is_named_with_what_it_printed(tmp_path: Path) -> None:
    with pytest.raises(BlockFailed, match=r"invented.md:2 failed:\n(?s:.*)No such file"):
        execute(page("true\n", "cat missing | cat\n", "echo never\n"), tmp_path)


def test_a_titled_block_is_a_file_for_those_after_it(tmp_path: Path) -> None:
    titled = Block(ROOT / "invented.md", 1, "toml", "folder/options.toml", "epochs = 1\n", None)
    assert execute([titled, *page("cat folder/options.toml\n")], tmp_path).printed[1] == "epochs = 1\n"


def test_a_block_that_says_why_is_not_run(tmp_path: Path) -> None:
    left_out = Block(ROOT / "invented.md", 1, "bash", None, "false\n", "needs a Docker engine")
    assert list(execute([left_out, *page("true\n")], tmp_path).printed) == [1]


def test_what_a_page_leaves_running_ends_with_it(tmp_path: Path) -> None:
    executed = execute(page("sleep 1000 & echo $!\n"), tmp_path)
    number = int(executed.printed[0])
    assert not psutil.pid_exists(number) or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_a_service_has_a_port_of_its_own(tmp_path: Path) -> None:
    executed = execute(page("echo http://127.0.0.1:8000/ $DINRANK_PORT\n"), tmp_path)
    url, port = executed.printed[0].split()
    assert url == f"http://127.0.0.1:{port}/"
    assert port != "8000"
