"""`make demo` and the compose trainer, interrupted at any of their steps and started again, go on."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
# By what lies there: what is left to do.
LEFT = [
    ((), ["fetch", "prepare", "train"]),
    (("raw",), ["prepare", "train"]),
    (("raw", "data"), ["train"]),
    (("raw", "data", "bundle.checkpoint"), ["train"]),
    (("raw", "data", "bundle", "bundle.checkpoint"), ["train"]),  # killed between its bundle and its report
    (("raw", "data", "bundle"), []),
]


def lay(folder: Path, names: tuple[str, ...]) -> None:
    for name in names:
        (folder / name).mkdir(parents=True)


def steps(lines: list[str]) -> list[str]:
    """The trainer's commands among these; a training is told to go on."""
    found = (re.search(r"-m (?:dinrank\.)?training (.*)", line) for line in lines)
    commands = [each[1] for each in found if each]
    assert all("--resume --or-anew" in command for command in commands if command.startswith("train "))
    return [command.split()[0] for command in commands]


@pytest.mark.parametrize(("there", "left"), LEFT)
def test_make_does_what_is_left_to_do(tmp_path: Path, there: tuple[str, ...], left: list[str]) -> None:
    lay(tmp_path, there)
    places = [f"{name}={tmp_path}/{file}" for name, file in (("RAW", "raw"), ("DATASET", "data"), ("BUNDLE", "bundle"))]
    said = subprocess.run(
        ["make", "--dry-run", *places, "demo"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert steps(said.splitlines()) == left


@pytest.mark.parametrize(("there", "left"), LEFT)
def test_the_compose_trainer_does_what_is_left_to_do(tmp_path: Path, there: tuple[str, ...], left: list[str]) -> None:
    """Its script, with the volumes elsewhere and a `python` that says what it was asked."""
    script = (ROOT / "docker" / "make-demo-bundle.sh").read_text(encoding="utf-8")
    for place, name in (("/data/raw/ml-100k", "raw"), ("/data/ml-100k", "data"), ("/bundles/din-ml-100k", "bundle")):
        assert script.count(place) == 1
        script = script.replace(place, str(tmp_path / name))
    lay(tmp_path, there)
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    said = subprocess.run(
        ["sh", "-c", script],
        env=os.environ | {"PATH": f"{python.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert steps(said) == left
    assert said[-1].startswith("-m dinrank.service publish ")
