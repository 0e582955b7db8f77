"""What is installed is what is in the repository: wheel and source distribution, built from a clean checkout."""

import contextlib
import email
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path

import pytest
import typer
from hatchling.build import build_sdist, build_wheel
from typer.testing import CliRunner

from dinrank.service.cli import app as service_app
from dinrank.training.cli import app as training_app
from tests.fixtures.dataset import write_dataset_directory

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service", "training")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SEMANTIC = r"(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:(?:a|b|rc)\d+)?"  # as PEP 440 writes its pre-releases
LARGEST_SDIST_BYTES = 2_000_000


def tracked(*parts: str) -> list[str]:
    """What is under version control, of these parts or of all, and not deleted since."""
    listed = subprocess.run(["git", "ls-files", "-z", *parts], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip(f"needs a git checkout: {listed.stderr.strip()}")
    return [
        name for name in listed.stdout.split("\0") if name and ((ROOT / name).is_file() or (ROOT / name).is_symlink())
    ]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All that a clean clone would have, and nothing that lies about here."""
    clean = tmp_path_factory.mktemp("checkout")
    for name in tracked():
        (clean / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clean / name, follow_symlinks=False)
    return clean


def built(build: Callable[[str], str], source: Path, out: Path) -> Path:
    with contextlib.chdir(source):  # where a build front end calls from
        return out / build(str(out))


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(build_wheel, checkout, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(build_sdist, checkout, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    [name] = [name for name in contents(wheel) if name.endswith(".dist-info/METADATA")]
    return email.message_from_bytes(contents(wheel)[name])


def contents(wheel: Path) -> Mapping[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}


def test_the_wheel_holds_the_three_packages_file_by_file_and_nothing_else(wheel: Path) -> None:
    found = contents(wheel)
    packed = {f"dinrank/{name}" for name in tracked(*PACKAGES)} | {"dinrank/__init__.py", "dinrank/py.typed"}
    assert {name for name in found if ".dist-info/" not in name} == packed
    assert all(found[name] == (ROOT / name).read_bytes() for name in packed)
    assert {name.partition(".dist-info/")[2] for name in found if ".dist-info/" in name} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }


def test_type_information_ships(wheel: Path, metadata: Message) -> None:
    assert "dinrank/py.typed" in contents(wheel)
    assert "Typing :: Typed" in metadata.get_all("Classifier", [])


def test_the_wheel_says_what_it_is(wheel: Path, metadata: Message) -> None:
    assert wheel.name == f"dinrank-{PROJECT['version']}-py3-none-any.whl"
    assert metadata["Version"] == PROJECT["version"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert set(metadata.get_all("Provides-Extra", [])) == PROJECT["optional-dependencies"].keys()
    description = metadata.get_payload(decode=True)
    assert description == (ROOT / "README.md").read_bytes()


def test_numpy_is_all_that_is_needed_without_an_extra(metadata: Message) -> None:
    without_extra = [needed for needed in metadata.get_all("Requires-Dist", []) if "extra ==" not in needed]
    assert [re.split(r"[<>=]", needed)[0] for needed in without_extra] == ["numpy"]


@pytest.mark.parametrize("name", PROJECT["scripts"])
def test_a_console_script_leads_to_a_function(name: str) -> None:
    script = importlib.metadata.EntryPoint(name, PROJECT["scripts"][name], "console_scripts")
    assert callable(script.load())


@pytest.mark.parametrize("app", [service_app, training_app], ids=["service", "training"])
def test_a_command_line_says_its_version(app: typer.Typer) -> None:
    answer = CliRunner().invoke(app, ["--version"])
    assert (answer.exit_code, answer.stdout) == (0, f"dinrank {PROJECT['version']}\n")


def test_the_source_distribution_builds_the_same_wheel_and_is_small(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    assert sdist.stat().st_size < LARGEST_SDIST_BYTES
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    [source] = tmp_path.iterdir()
    names = {path.name for path in source.iterdir()}
    assert names == {
        "dinrank",
        *("pyproject.toml", "README.md", "CHANGELOG.md", "SECURITY.md", "LICENSE", "constraints.txt"),
        *(".gitignore", "PKG-INFO"),  # hatchling's
    }
    assert contents(built(build_wheel, source, tmp_path)) == contents(wheel)


def test_the_service_works_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    unpacked = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(unpacked)
    program = (
        "import dinrank.service.app, dinrank.service.cli, sys\n"
        "print(dinrank.service.app.__file__, 'torch' in sys.modules)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert answer.stdout.split() == [str(unpacked / "dinrank" / "service" / "app.py"), "False"]


@pytest.mark.parametrize(
    ("package", "missing", "advice"),
    [
        ("service", "typer", "pip install 'dinrank[service]'"),
        ("training", "typer", "pip install 'dinrank[training]'"),
        ("training", "torch", "pip install 'dinrank[training]'"),
    ],
)
def test_a_command_without_its_extra_says_what_to_install(
    package: str, missing: str, advice: str, tmp_path: Path
) -> None:
    as_command = f"import runpy; runpy.run_module({package!r}, run_name='__main__')"
    without = f"import sys; sys.modules[{missing!r}] = None; {as_command}"  # an import of None finds no module
    arguments = ["train", "--data", str(write_dataset_directory(tmp_path / "data")), "--out", str(tmp_path / "bundle")]
    command = [sys.executable, "-c", without, *(arguments if package == "training" else [])]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    [line] = answer.stderr.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(f"needs {missing}: {advice}")


def test_versions_are_semantic_and_the_changelog_begins_with_what_is_not_released() -> None:
    assert re.fullmatch(SEMANTIC, PROJECT["version"])
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased, *released = re.findall(r"^## (.*)$", changelog, re.MULTILINE)
    assert unreleased == "[Unreleased]"
    versions = []
    for heading in released:
        found = re.fullmatch(rf"\[({SEMANTIC})\] - \d{{4}}-\d\d-\d\d", heading)
        assert found, f"{heading}: a release is written ## [X.Y.Z] - YYYY-MM-DD"
        versions.append(found[1])
    assert versions == sorted(set(versions), key=_order, reverse=True)
    assert not versions or _order(PROJECT["version"]) >= _order(versions[0])


def _order(version: str) -> tuple[object, ...]:
    numbers, stage, count = re.fullmatch(r"([\d.]+?)(?:(a|b|rc)(\d+))?", version).groups()  # type: ignore[union-attr]
    return (*map(int, numbers.split(".")), stage or "release", int(count or 0))
