"""SBOMs of the images, in CycloneDX: every locked package with its version and its files' hashes."""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from release.provenance import commit_time

ROOT = Path(__file__).parents[1]
IMAGES = ("service", "trainer")


def write_sbom(image: str, out: Path) -> Path:
    """Write the SBOM of an image to `out`; the same tree gives the same bytes.

    The trainer has torch in addition to its lock: in the version of constraints.txt, and without hashes. A lock has
    no dependency graph, of which the library would warn.
    """
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    file = out / f"dinrank-{version}-{image}.cdx.json"
    options = [
        "--pyproject",
        "pyproject.toml",
        "--output-reproducible",
        "--output-format",
        "JSON",
        "-o",
        str(file.resolve()),
    ]
    subprocess.run(
        [sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", "requirements", *options, "-"],
        cwd=ROOT,
        input=_requirements(image),
        text=True,
        check=True,
        env={**os.environ, "SOURCE_DATE_EPOCH": str(commit_time())},
    )
    return file


def _requirements(image: str) -> str:
    locked = (ROOT / "requirements" / f"{image}.txt").read_text(encoding="utf-8")
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return "\n".join([locked, *(line for line in pinned if image == "trainer" and line.startswith("torch=="))])


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.sbom", description=__doc__)
    parser.add_argument("out", type=Path, help="folder to write to")
    out = parser.parse_args().out
    for image in IMAGES:
        sys.stdout.write(f"{write_sbom(image, out)}\n")


if __name__ == "__main__":
    main()
