"""Check of the installed libraries against the bounds of this version."""

import platform
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from dinrank.service.doctor.report import Finding, ok, warning, wrong
from dinrank.service.settings import Settings
from dinrank.service.store.url import EMBEDDED

CHECK = "libraries"
_PACKAGE = "dinrank"


def check_libraries(settings: Settings, *, package: str = _PACKAGE) -> list[Finding]:
    """Check the libraries that these settings use against the bounds declared by the installed package."""
    extras = ["service"]
    extras += ["tracing"] if settings.trace_endpoint else []
    extras += ["embedded"] if settings.redis == EMBEDDED else []
    try:
        declared = metadata.requires(package) or []
        python = metadata.metadata(package)["Requires-Python"]
    except metadata.PackageNotFoundError:
        return [
            warning(
                CHECK,
                f"{package} is not installed as a package, so the versions of its libraries cannot be compared",
                f"pip install '{package}[{','.join(extras)}]', or with -e in a checkout",
            )
        ]
    findings = check_python(python)
    requirements = [Requirement(text) for text in declared]
    needed = [
        requirement
        for requirement in requirements
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": extra}) for extra in extras)
    ]
    findings += check_requirements(needed)
    return findings or [ok(CHECK, f"{len(needed)} libraries are within the bounds of {package} {_version(package)}")]


def check_python(bounds: str | None) -> list[Finding]:
    """Check this Python's version; no finding if it is within the bounds."""
    found = platform.python_version()
    if bounds and not SpecifierSet(bounds).contains(found, prereleases=True):
        return [wrong(CHECK, f"this is Python {found}, {bounds} is needed", "make an environment with such a Python")]
    return []


def check_requirements(requirements: list[Requirement]) -> list[Finding]:
    """Return a finding for each requirement that is missing or out of bounds."""
    findings = []
    for requirement in requirements:
        wanted = f"{requirement.name}{requirement.specifier}"
        found = _version(requirement.name)
        if found is None:
            findings.append(wrong(CHECK, f"{requirement.name} is not installed", f"pip install '{wanted}'"))
        elif not requirement.specifier.contains(found, prereleases=True):
            message = f"{requirement.name} {found} is installed, and this version was made for {requirement.specifier}"
            findings.append(wrong(CHECK, message, f"pip install '{wanted}'"))
    return findings


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
