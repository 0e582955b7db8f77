"""Provenance of the files in a folder: an in-toto statement with SLSA provenance, version 1.

It names each file with its sha256, the source commit, the builder and the locked packages. It is not signed: trust it
only as far as the place that it comes from.
"""

import argparse
import hashlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FILE = "provenance.intoto.json"
BUILD_TYPE = "urn:dinrank:build:make-wheel:v1"
_LOCKED = ("requirements/dev.txt", "constraints.txt")  # what a build installs


class NotOfACommit(Exception):
    """The tree has uncommitted changes, so its provenance would be false."""


def statement(files: list[Path], *, builder: str) -> dict[str, Any]:
    """Describe files built from the checked-out commit.

    Args:
        builder: URI of the builder, such as a CI workflow.

    Raises:
        NotOfACommit: there are changes, or untracked files that git does not ignore.
    """
    if changed := _git("status", "--porcelain"):
        raise NotOfACommit(f"commit or remove first: {', '.join(line[3:] for line in changed.splitlines())}")
    commit = {"gitCommit": _git("rev-parse", "HEAD")}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": file.name, "digest": {"sha256": _sha256(file)}} for file in files],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": "make wheel"},
                "internalParameters": {"python": sys.version.split()[0]},
                "resolvedDependencies": [
                    {"name": "dinrank", "digest": commit},
                    *({"name": name, "digest": {"sha256": _sha256(ROOT / name)}} for name in _LOCKED),
                ],
            },
            "runDetails": {
                "builder": {"id": builder},
                "metadata": {"finishedOn": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")},
            },
        },
    }


def commit_time() -> int:
    """Return the commit's time in seconds since 1970."""
    return int(_git("log", "-1", "--format=%ct"))


def _git(*arguments: str) -> str:
    ended = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.strip("\n")


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m release.provenance", description=__doc__)
    parser.add_argument("out", type=Path, help=f"folder with the built files;  {FILE} is written there")
    parser.add_argument("--builder", required=True, help="URI of the builder")
    options = parser.parse_args()
    files = sorted(path for path in options.out.iterdir() if path.is_file() and path.name != FILE)
    try:
        document = statement(files, builder=options.builder)
    except NotOfACommit as exc:
        sys.exit(f"error: no provenance: {exc}")
    (options.out / FILE).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(f"{options.out / FILE}\n")


if __name__ == "__main__":
    main()
