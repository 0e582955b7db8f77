"""What README says is so: settings, commands, flags, files, links, and the example it shows."""

import itertools
import json
import re
import shlex
from pathlib import Path

import pytest
import typer
from click.testing import CliRunner

from service.api.events import BehavioursRequest, EventBody
from service.api.schemas import RankRequest, RankResponse
from service.cli import app as service_app
from service.settings import ENV_PREFIX, Settings
from tests.chaos.__main__ import ALL_FAULTS
from training.__main__ import app as training_app
from training.config import TrainConfig
from training.data.declaration import read_declaration

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "SECURITY.md",
    ROOT / "bench" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]
APPS = {"service": service_app, "training": training_app}


def settings_table() -> str:
    """The table as README must have it."""
    lines = ["| variable | default | what it does |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {_default(name)} | {field.description} |")
    return "\n".join(lines)


def _default(name: str) -> str:
    if name == "redis_data_dir":
        return "`~/.local/share/dinrank/redis`"
    if name == "workers":
        return "usable cores"
    field = Settings.model_fields[name]
    if field.is_required():
        return "none, required"
    return "none" if field.default in (None, "", ()) else f"`{field.default}`"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    """Every `python -m ...` line of README's shell blocks, without comments."""
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python -m")]
    return [shlex.split(line, comments=True) for line in lines]


def test_the_settings_table_is_the_code() -> None:
    assert settings_table() in README


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_the_flags_that_readme_gives_it(command: list[str]) -> None:
    _, _, package, *arguments = command
    names = list(itertools.takewhile(lambda argument: not argument.startswith("--"), arguments))
    result = CliRunner().invoke(typer.main.get_command(APPS[package]), [*names, "--help"], terminal_width=200)
    assert result.exit_code == 0
    for flag in (argument for argument in arguments if argument.startswith("--")):
        assert flag in result.output


def test_every_make_target_that_readme_names_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = set(
        re.findall(r"\bmake ([a-z]+)\b", "\n".join(blocks("bash")) + "".join(re.findall(r"`make [a-z]+`", README)))
    )
    assert {"demo", "serve", "test", "check", "help"} <= named
    assert all(re.search(rf"^{target}:", makefile, flags=re.MULTILINE) for target in named)


def test_every_file_in_the_tree_exists() -> None:
    tree = next(block for block in blocks("text") if block.startswith("model/"))
    folder = Path()
    for line in tree.splitlines():
        names = [name for name in re.split(r"\s{2,}", line.strip())[0].split() if re.fullmatch(r"[\w./]+", name)]
        if not line.startswith(" "):
            folder, names = Path(names[0]), names[:1]
            assert (ROOT / folder).exists(), line
            continue
        assert names, line
        assert all((ROOT / folder / name).exists() for name in names), line


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
    assert all((document.parent / target).exists() for target in targets)


def test_the_shown_request_and_answer_are_of_the_documented_form() -> None:
    shown = blocks("console")[0]
    body = re.search(r"-d '(.*?)'", shown, flags=re.DOTALL)
    assert body is not None
    RankRequest.model_validate_json(body[1])
    answer = json.loads(shown[shown.rindex("\n{") :])
    RankResponse.model_validate(answer)
    assert [ad["ecpm"] for ad in answer["ads"]] == pytest.approx([ad["bid"] * ad["ctr"] for ad in answer["ads"]])


def test_the_shown_schema_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "schema.toml").write_text(blocks("toml")[0], encoding="utf-8")
    assert [feature.name for feature in read_declaration(tmp_path / "schema.toml").features][-1] == "hour"


def test_every_training_option_is_documented_where_readme_points() -> None:
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
    [posted] = [block for block in blocks("bash") if "/behaviours" in block]
    [added] = [block for block in blocks("bash") if "XADD" in block]
    BehavioursRequest.model_validate_json(posted[posted.index("-d '") + 4 : posted.rindex("'")])
    EventBody.model_validate_json(added[added.index("event '") + 7 : added.rindex("'")])
