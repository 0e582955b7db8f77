"""Every command says what it is for, explains each option, and shows an example that it would take."""

import importlib
import re
import runpy
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

import click
import pytest
import typer

ROOT = Path(__file__).parents[1]
# Module to what people write after `python`.
APPS = {
    "dinrank.service.cli": "-m service",
    "dinrank.training.cli": "-m training",
    "bench.alternatives": "-m bench.alternatives",
    "bench.bundle_memory": "-m bench.bundle_memory",
    "bench.embedding_table": "-m bench.embedding_table",
    "bench.health_under_load": "-m bench.health_under_load",
    "bench.history_length": "-m bench.history_length",
    "bench.http_servers": "-m bench.http_servers",
    "bench.memory_growth": "-m bench.memory_growth",
    "bench.overfitting": "-m bench.overfitting",
    "bench.overload": "-m bench.overload",
    "bench.reload_memory": "-m bench.reload_memory",
    "bench.request_cpu": "-m bench.request_cpu",
    "bench.serving.__main__": "-m bench.serving",
    "bench.soak.__main__": "-m bench.soak",
    "bench.training_throughput": "-m bench.training_throughput",
    "tests.chaos.__main__": "-m tests.chaos",
    "tests.fuzz.__main__": "-m tests.fuzz",
}


def commands() -> Iterator[tuple[str, click.Command]]:
    """What people write after `python`, and the command."""
    apps = {written: importlib.import_module(module).app for module, written in APPS.items()}
    apps["examples/score_offline.py"] = runpy.run_path(str(ROOT / "examples" / "score_offline.py"))["app"]
    for written, app in apps.items():
        yield from _within(written, typer.main.get_command(app))


def _within(written: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    of_group: Mapping[str, click.Command] | None = getattr(command, "commands", None)
    if of_group is None:
        yield written, command
        return
    for name, each in of_group.items():
        yield from _within(f"{written} {name}", each)


COMMANDS = list(commands())
each_command = pytest.mark.parametrize(("written", "command"), COMMANDS, ids=[written for written, _ in COMMANDS])


@each_command
def test_a_command_says_in_a_line_what_it_is_for(written: str, command: click.Command) -> None:
    purpose = (command.help or "").split("\n\n")[0]
    assert purpose.endswith((".", "?")), written
    assert len(" ".join(purpose.split())) <= 120


@each_command
def test_every_option_is_explained(written: str, command: click.Command) -> None:
    for parameter in command.params:
        explained = getattr(parameter, "help", None)
        assert explained, f"{written} {parameter.name}"
        assert explained.endswith(".") or parameter.param_type_name == "argument", f"{written} {parameter.name}"


@each_command
def test_a_command_shows_an_example_that_it_would_take(written: str, command: click.Command) -> None:
    found = re.fullmatch(r"Example: `?python ([^`]*)`?", command.epilog or "")
    assert found, f"{written} has no epilog `Example: python {written} ...`"
    example = shlex.split(found[1])
    words = written.split()
    assert example[: len(words)] == words
    with command.make_context(written, example[len(words) :]):  # parses, and runs nothing
        pass


def test_every_module_that_takes_options_is_looked_at() -> None:
    files = [*(ROOT / "bench").rglob("*.py"), *(ROOT / "tests").glob("*/__main__.py")]
    apps = {path for path in files if re.search(r"^app = typer\.Typer\(", path.read_text("utf-8"), re.MULTILINE)}
    assert apps == {ROOT / f"{module.replace('.', '/')}.py" for module in APPS if module.startswith(("bench", "tests"))}
