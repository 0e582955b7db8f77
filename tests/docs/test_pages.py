"""Every command and every code block of README and the documents does what it says. `make docs` runs it."""

import json
import tomllib
from pathlib import Path

import pytest

from tests.docs.blocks import EXECUTED, READ, ROOT, SHOWN, blocks, documents
from tests.docs.page import Executed, execute, missing_lines

TUTORIAL = ROOT / "docs" / "tutorial.md"
PAGES = [page for page in documents() if page != TUTORIAL and any(block.is_step for block in blocks(page))]


@pytest.fixture(scope="session")
def tutorial(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """The tutorial, executed; what it leaves is where other pages begin."""
    return execute(blocks(TUTORIAL), tmp_path_factory.mktemp("tutorial"))


def test_the_tutorial_runs_and_prints_what_it_shows(tutorial: Executed) -> None:
    assert_shown(TUTORIAL, tutorial)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_page_runs_and_prints_what_it_shows(page: Path, tutorial: Executed, tmp_path: Path) -> None:
    assert_shown(page, execute(blocks(page), tmp_path, shop=tutorial.directory))


def assert_shown(page: Path, executed: Executed) -> None:
    found = blocks(page)
    for place, block in enumerate(found):
        if block.language in SHOWN and block.reason is None and block.title is None:
            before = [step for step in executed.printed if step < place and found[step].language in EXECUTED]
            output = executed.printed[before[-1]]
            missing = missing_lines(block.text, output)
            assert not missing, f"{block} shows what is not printed: {missing}\n\nprinted was:\n{output}"


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.stem)
def test_json_and_toml_of_the_page_can_be_read(page: Path) -> None:
    readers = {"json": json.loads, "toml": tomllib.loads}
    for block in blocks(page):
        if block.language in READ and block.reason is None:
            readers[block.language](block.text)


def test_output_is_compared_by_its_words() -> None:
    printed = "epoch  1.00  train loss 0.61  valid GAUC 0.70 (best)\n│ test │ 0.7115 │\nbundle 57ee90b40fd6949f"
    assert missing_lines("epoch  0.50  train … (best)\n…\n│ test │ 0.2 │\nbundle aaaaaaaaaaaaaaaa", printed) == []
    assert missing_lines("epoch 2 train loss 0.6 valid AUC 0.7", printed) == ["epoch 2 train loss 0.6 valid AUC 0.7"]
    assert missing_lines("train loss 0.61 valid … bundle …", "train loss 1\n  valid\nbundle f00") == []
    assert missing_lines("bundle 0123456789abcdef\nepoch 1.00 …", printed) == ["epoch 1.00 …"]
