"""Page of every command with its options and example, from the commands themselves."""

from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import typer

from dinrank.service.cli import app as service_app
from dinrank.training.cli import app as training_app

_APPS = {"training": training_app, "service": service_app}


def commands_page() -> str:
    lines = ["# Commands", "", "Each has `--help` with the same.", ""]
    for package, app in _APPS.items():
        for name, command in leaves(typer.main.get_command(app), f"python -m {package}"):
            lines += _section(name, command)
    return "\n".join(lines)


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield the leaf commands, each with its full name."""
    children = getattr(command, "commands", None)
    if children is None:
        yield name, command
        return
    for child_name, child in children.items():
        yield from leaves(child, f"{name} {child_name}")


def _section(name: str, command: Any) -> list[str]:
    lines = [f"## {name.removeprefix('python -m ')}", "", command.help or "", ""]
    example = (command.epilog or "").replace("`", "").removeprefix("Example: ")
    if example:
        lines += ["```bash", example, "```", ""]
    lines += ["| option | default | what it does |", "|---|---|---|"]
    lines += [_row(option) for option in command.params if option.name != "help"]
    return [*lines, ""]


def _row(option: Any) -> str:
    is_argument = not option.opts[0].startswith("-")
    spelt = f"`{(option.name or '').upper()}`" if is_argument else ", ".join(f"`{name}`" for name in option.opts)
    if option.required:
        default = "required"
    elif option.default in (None, False, (), []) or callable(option.default):
        default = ""
    else:
        default = f"`{getattr(option.default, 'value', option.default)}`"
    meaning = (getattr(option, "help", None) or "").replace("|", "\\|")
    is_flag = getattr(option, "is_flag", False)
    return f"| {spelt}{'' if is_argument or is_flag else f' `{_takes(option)}`'} | {default} | {meaning} |"


def _takes(option: Any) -> str:
    """Return an option's placeholder: its metavar, its choices, or the name of its type."""
    if option.metavar:
        return str(option.metavar)
    annotation = option.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "/".join(str(each.value) for each in annotation)
    words = {Path: "PATH", int: "NUMBER", float: "NUMBER", str: "TEXT"}
    return next(word for kind, word in words.items() if kind in (annotation, *get_args(annotation)))
