"""What README says is so: settings, commands, flags, files, links, and the example it shows."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from click.testing import CliRunner

from dinrank.service.api.events import BehavioursRequest, EventBody
from dinrank.service.api.rank_bodies import RankRequest, RankResponse
from dinrank.service.cli import app as service_app
from dinrank.training.cli import app as training_app
from dinrank.training.config import TrainConfig
from dinrank.training.data.declaration import read_declaration
from docs.hooks.code import PACKAGES, code_page, modules, purpose
from docs.hooks.commands import commands_page, leaves
from docs.hooks.http_api import http_page
from docs.hooks.settings import settings_table
from docs.hooks.training_options import training_page
from tests.chaos.__main__ import ALL_FAULTS
from tests.docs.blocks import EXECUTED, READ, SHOWN, Block, documents
from tests.docs.blocks import blocks as blocks_of

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = documents()
MKDOCS = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
MADE_OF_CODE = {
    "code.md",
    "decisions/index.md",
    *(f"reference/{name}.md" for name in ("commands", "http", "training")),
}
APPS = {"service": service_app, "training": training_app}


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Every `python -m ...` line of the shell blocks of these pages, without comments."""
    pages = ("README.md", "docs/training.md", "docs/serving.md")
    shown = [block for page in pages for block in blocks(page, "bash")]
    lines = [line for block in shown for line in block.splitlines() if line.startswith("python -m")]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_settings_table_is_the_code() -> None:
    assert settings_table() in (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_the_flags_that_the_documents_give_it(command: list[str]) -> None:
    _, _, package, *arguments = command
    names = list(itertools.takewhile(lambda argument: not argument.startswith("--"), arguments))
    result = CliRunner().invoke(typer.main.get_command(APPS[package]), [*names, "--help"], terminal_width=200)
    assert result.exit_code == 0
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert flag in result.output


def every_block() -> list[Block]:
    return [block for document in DOCUMENTS for block in blocks_of(document)]


def test_every_block_is_executed_or_read_or_compared_or_says_why_not() -> None:
    assert len(every_block()) > 100
    for block in every_block():
        assert block.title or block.language in {*EXECUTED, *READ, *SHOWN}, f"{block} has no language that is checked"
        assert block.reason is None or len(block.reason) > 8, f"{block} does not say why it is not run"


def test_every_fence_is_part_of_a_block() -> None:
    for document in DOCUMENTS:
        fences = re.findall(r"^ *```", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
        assert len(fences) == 2 * len(blocks_of(document)), document


def test_output_is_shown_after_what_prints_it() -> None:
    for document in DOCUMENTS:
        found = [block for block in blocks_of(document) if block.reason is None and block.title is None]
        languages = [block.language for block in found]
        assert not languages or languages[0] not in SHOWN, document


def test_every_document_is_on_the_site() -> None:
    listed = set(re.findall(r"^ +- (?:\w+: )?([\w/-]+\.md)$", MKDOCS, flags=re.MULTILINE))
    pages = {
        str(document.relative_to(ROOT / "docs")) for document in DOCUMENTS if document.is_relative_to(ROOT / "docs")
    }
    in_project = {f"project/{name}" for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")}
    assert listed == {page for page in pages if not page.startswith("decisions/")} | MADE_OF_CODE | in_project


def test_the_reference_has_all_commands_routes_and_options() -> None:
    commands, http, training = commands_page(), http_page(), training_page()
    for package, app in APPS.items():
        for name, command in leaves(typer.main.get_command(app), package):
            assert f"## {name}\n" in commands
            assert all(f"`{flag}`" in commands for option in command.params for flag in option.opts if "-" in flag[0])
    assert all(text in http for text in ("## POST /rank\n", "## POST /behaviours\n", "### RankRequest\n"))
    assert "| `overloaded` | 503 |" in http
    assert all(f"| `{name}` |" in training for name in TrainConfig.__slots__ if name != "network")


def test_every_make_target_that_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(
            r"\bmake ([a-z]+)\b", "\n".join(blocks("README.md", "bash")) + "".join(re.findall(r"`make [a-z]+`", README))
        )
    )
    assert {"demo", "serve", "test", "help"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_every_module_says_its_purpose_in_one_sentence_of_the_page_about_the_code() -> None:
    page = code_page()
    for path in (path for package in PACKAGES for path in modules(package)):
        assert purpose(path), f"{path} has no docstring"
        assert f"| `{path.relative_to(ROOT)}` | {purpose(path)} |" in page


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
    assert all((document.parent / target).exists() for target in targets)


def test_the_shown_request_and_answer_are_of_the_documented_form() -> None:
    shown = blocks("README.md", "console")[0]
    body = re.search(r"-d '(.*?)'", shown, flags=re.DOTALL)
    assert body is not None
    RankRequest.model_validate_json(body[1])
    answer = json.loads(shown[shown.rindex("\n{") :])
    RankResponse.model_validate(answer)
    assert [ad["ecpm"] for ad in answer["ads"]] == pytest.approx([ad["bid"] * ad["ctr"] for ad in answer["ads"]])


def test_the_shown_schema_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(blocks("docs/training.md", "toml")[0], encoding="utf-8")
    assert [feature.name for feature in read_declaration(tmp_path / "schema.toml").features][-1] == "hour"


def test_every_training_option_is_documented_where_the_documents_point() -> None:
    for config in (TrainConfig, type(TrainConfig().network)):
        assert config.__doc__ is not None
        assert all(f"{name}:" in config.__doc__ for name in config.__slots__ if name != "network")


def test_the_tests_that_the_reliability_table_names_are_there() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+test_\w+\.py)`", text)) | set(re.findall(r"`(test_\w+\.py)`", text))
    assert len(named) > 20
    assert {name for name in named if not (ROOT / "tests" / name).is_file()} == set()


def test_the_table_of_the_chaos_suite_has_every_fault() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    assert {fault.name for fault in ALL_FAULTS if f"| {fault.name} |" not in text} == set()


def test_the_shown_behaviours_are_of_the_documented_form() -> None:
    [posted] = [block for block in blocks("docs/serving.md", "bash") if "/behaviours" in block]
    [added] = [block for block in blocks("docs/serving.md", "bash") if "XADD" in block]
    BehavioursRequest.model_validate_json(posted[posted.index("-d '") + 4 : posted.rindex("'")])
    EventBody.model_validate_json(added[added.index("event '") + 7 : added.rindex("'")])
