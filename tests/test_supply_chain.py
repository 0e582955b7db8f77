"""Installed, built and released is what is written down: locks with hashes, images by digest, SBOM, provenance."""

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release import provenance, sbom

ROOT = Path(__file__).parents[1]
DIGEST = re.compile(r"[a-z/]+:v?[\w.-]+@sha256:[0-9a-f]{64}")
# Lock -> the extras that it is of, as requirements/lock.sh has them.
LOCKS = {
    "service": ["service", "tracing", "signing"],
    "trainer": ["training", "publish", "signing"],
    "load": ["service", "load"],
    "demo": ["demo", "training"],
    "dev": ["dev"],
    "docs": ["docs"],
    "e2e": ["e2e"],
}
# Not locked: pip is there already; of torch each index has a build of its own.
PIP = (sys.executable, "-m", "pip")
NOT_LOCKED = re.compile(r"pip|torch|triton|nvidia-.*|cuda-.*")


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = [line.split("==") for line in lines if not line.startswith("#")]
    return {canonicalize_name(name): found for name, found in pinned}


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each package."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8")
    found = {}
    for block in re.split(r"\n(?=[^ ])", text):
        if not block.startswith("#"):
            pinned = Requirement(block.partition(" \\")[0])
            [specifier] = pinned.specifier
            assert specifier.operator == "=="
            found[canonicalize_name(pinned.name)] = (specifier.version, re.findall(r"--hash=sha256:(\S+)", block))
    return found


@pytest.mark.parametrize("name", [*LOCKS, "build"])
def test_a_lock_has_the_versions_that_the_tests_passed_with_and_hashes_of_all(name: str) -> None:
    pinned = constraints()
    for package, (found, hashes) in locked(name).items():
        assert found == pinned[package], f"{package}: make lock"
        assert hashes and all(re.fullmatch("[0-9a-f]{64}", each) for each in hashes), package


def needed(package: str, extras: set[str], seen: set[tuple[str, str]]) -> Iterator[str]:
    """What an installation of these extras needs here, by the metadata of what is installed."""
    for text in requires(package) or ():
        requirement = Requirement(text)
        if not any(requirement.marker is None or requirement.marker.evaluate({"extra": extra}) for extra in extras):
            continue
        name = canonicalize_name(requirement.name)
        key = (name, ",".join(sorted(requirement.extras)))
        if key in seen or NOT_LOCKED.fullmatch(name):
            continue
        seen.add(key)
        if name != "dinrank":
            yield name
        try:
            yield from needed(name, {"", *requirement.extras}, seen)
        except PackageNotFoundError:
            continue  # of an extra that is not installed here


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_everything_that_its_extras_need(name: str) -> None:
    missing = set(needed("dinrank", {"", *LOCKS[name]}, set())) - locked(name).keys()
    assert not missing, "make lock"


def test_pip_refuses_a_file_of_another_hash(tmp_path: Path) -> None:
    """The very options of the Makefile, on a file that is there already: no index is asked."""
    built = subprocess.run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), str(package(tmp_path))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    [wheel] = tmp_path.glob("*.whl")
    for digest, passes in ((hashlib.sha256(wheel.read_bytes()).hexdigest(), True), ("0" * 64, False)):
        (tmp_path / "lock.txt").write_text(f"tiny==1.0 --hash=sha256:{digest}\n")
        options = ["--no-index", "--find-links", str(tmp_path), "--target", str(tmp_path / digest)]
        command = [*PIP, "install", "--require-hashes", "--requirement", str(tmp_path / "lock.txt"), *options]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (ended.returncode == 0) is passes, ended.stderr


def package(directory: Path) -> Path:
    source = directory / "source"
    source.mkdir()
    (source / "tiny.py").write_text("")
    (source / "pyproject.toml").write_text(
        '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
        '[project]\nname = "tiny"\nversion = "1.0"\n[tool.hatch.build.targets.wheel]\ninclude = ["tiny.py"]\n'
    )
    return source


def test_everything_that_is_installed_without_a_hash_is_torch_or_our_own() -> None:
    """In the Makefile and the Dockerfiles; measurements of others' code have environments of their own."""
    texts = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "docker").glob("*.Dockerfile")]
    lines = [line for text in texts for line in text.splitlines() if re.search(r"pip install|\$\(PIP\) ", line)]
    lines = [line.strip() for line in lines if "--require-hashes" not in line and "$(call PINNED" not in line]
    unlocked = [line for line in lines if "--no-deps" not in line and not line.startswith("PIP :=")]
    assert all("constraints.txt torch" in line or "'uv>=" in line or ".bench/" in line for line in unlocked), unlocked


def test_base_images_are_named_by_tag_and_digest() -> None:
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    python = set()
    for path in (ROOT / "docker").glob("*.Dockerfile"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"^FROM (\S+)", text, re.MULTILINE)) == {"${PYTHON_IMAGE}"}
        python |= set(re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE))
    services = compose["services"].values()
    python |= {_default(each["build"]["args"]["PYTHON_IMAGE"]) for each in services if "build" in each}
    assert len(python) == 1
    images = python | {_default(each["image"]) for each in services if "image" in each}
    assert len(images) == 4
    assert all(DIGEST.fullmatch(image) for image in images)


def _default(value: str) -> str:
    """Of `${NAME:-default}`, or the value itself."""
    found = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
    return found[1] if found else value


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the files that the two read, and one commit."""
    root = tmp_path / "checkout"
    locks = [f"requirements/{name}.txt" for name in ("service", "trainer", "dev")]
    for name in ("pyproject.toml", "README.md", "constraints.txt", *locks):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, root / name)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "first"]):
        identity = ["-c", "user.name=tests", "-c", "user.email=tests@localhost"]
        subprocess.run(["git", *identity, *command], cwd=root, check=True, capture_output=True)
    monkeypatch.setattr(provenance, "ROOT", root)
    monkeypatch.setattr(sbom, "ROOT", root)
    return root


def test_provenance_names_the_commit_and_the_bytes(checkout: Path, tmp_path: Path) -> None:
    wheel = tmp_path / "dinrank.whl"
    wheel.write_bytes(b"wheel")
    found = json.loads(json.dumps(provenance.statement([wheel], builder="https://ci.example/workflow")))
    commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
    assert found["_type"] == "https://in-toto.io/Statement/v1"
    assert found["subject"] == [{"name": "dinrank.whl", "digest": {"sha256": hashlib.sha256(b"wheel").hexdigest()}}]
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"
    source, *locks = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert source == {"name": "dinrank", "digest": {"gitCommit": commit.stdout.strip()}}
    for lock in locks:
        assert lock["digest"] == {"sha256": hashlib.sha256((checkout / lock["name"]).read_bytes()).hexdigest()}
    assert found["predicate"]["runDetails"]["builder"] == {"id": "https://ci.example/workflow"}


@pytest.mark.parametrize("name", ["README.md", "new.py"])
def test_changes_that_no_commit_has_get_no_provenance(checkout: Path, name: str) -> None:
    (checkout / name).write_text("changed")
    with pytest.raises(provenance.NotOfACommit, match=name):
        provenance.statement([], builder="urn:tests")


def test_an_sbom_has_what_an_image_installs(checkout: Path, tmp_path: Path) -> None:
    """The trainer's, which has torch besides its lock."""
    document = json.loads(sbom.write_sbom("trainer", tmp_path).read_bytes())
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "dinrank"
    found = {canonicalize_name(each["name"]): each["version"] for each in document["components"]}
    assert found == {"torch": constraints()["torch"]} | {name: each for name, (each, _) in locked("trainer").items()}
    numpy = next(each for each in document["components"] if each["name"] == "numpy")
    assert numpy["purl"] == f"pkg:pypi/numpy@{version('numpy')}"
    assert {each["content"] for each in numpy["externalReferences"][0]["hashes"]} == set(locked("trainer")["numpy"][1])
