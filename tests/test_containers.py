"""What docker-compose.yml grants its containers: as little as it says."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.test_architecture import PACKAGES, imported_modules

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_write_nowhere_but_its_volumes_and_can_do_next_to_nothing(name: str) -> None:
    container = SERVICES[name]
    assert container["read_only"] is True
    assert container["cap_drop"] == ["ALL"]
    assert container.get("cap_add", []) == (["CHOWN", "SETGID", "SETUID"] if name == "redis" else [])
    assert container["security_opt"] == ["no-new-privileges"]
    assert "privileged" not in container


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_this_machine_alone(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_an_image_from_elsewhere_has_a_version(name: str) -> None:
    image = SERVICES[name].get("image")
    assert image is None or re.search(r":v?\d", image)
    assert ("build" in SERVICES[name]) != (image is not None)


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"trainer"}))
def test_a_container_says_when_it_is_well(name: str) -> None:
    """Or that there is no asking it. The trainer ends; of our own images the Dockerfile says it."""
    build = SERVICES[name].get("build")
    dockerfile = "" if build is None else (ROOT / build["dockerfile"]).read_text(encoding="utf-8")
    assert "healthcheck" in SERVICES[name] or "HEALTHCHECK" in dockerfile or name == "load"


def test_whoever_looks_at_grafana_can_change_nothing() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"  # else it is admin with password admin


def copied(dockerfile: Path) -> set[Path]:
    """Our source files that an image is built of."""
    lines = [
        line.split()[1:-1] for line in dockerfile.read_text(encoding="utf-8").splitlines() if line.startswith("COPY")
    ]
    sources = [ROOT / name for names in lines for name in names if Path(name).parts[0] in PACKAGES]
    return {file for source in sources for file in ([source] if source.is_file() else source.rglob("*.py"))}


@pytest.mark.parametrize("image", ["service", "load"])  # the trainer has all of it
def test_an_image_is_built_with_every_module_of_ours_that_its_modules_import(image: str) -> None:
    files = copied(ROOT / "docker" / f"{image}.Dockerfile")
    assert files
    for file in files:
        package = file.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for module in imported_modules(file.read_text(encoding="utf-8") if file.suffix == ".py" else "", package):
            path = ROOT.joinpath(*module.split("."))
            needed = {path.with_suffix(".py"), path / "__init__.py"} - {ROOT / "__init__.py"}
            exists = {each for each in needed if module.partition(".")[0] in PACKAGES and each.is_file()}
            assert exists <= files, f"{file} imports {module}, which the image lacks"


def test_containers_run_commands_by_their_installed_names() -> None:
    """Outside a checkout there is no module `service`, and no `training`."""
    files = [*(ROOT / "docker").glob("*.Dockerfile"), *(ROOT / "docker").glob("*.sh"), ROOT / "docker-compose.yml"]
    for file in files:
        assert not re.search(r"-m\W+(service|training)\b", file.read_text(encoding="utf-8")), file
