"""A training that is killed before any of its steps ends with `--resume` as one that nobody killed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from dinrank.model.bundle.reader import open_bundle

ROOT = Path(__file__).parents[3]
STAGED = r"\.bundle\.[0-9a-f]{32}"
# The change that each process is killed before, in the order of a training, and what lies there then.
KILLED = [
    (r"os.rename /bundle\.checkpoint\.partial", r"\.bundle\.lock bundle\.checkpoint\.partial"),
    (rf"os.rename /{STAGED}", rf"{STAGED} \.bundle\.lock bundle\.checkpoint"),
    (r"open /bundle\.report\.json\.partial", r"\.bundle\.lock bundle bundle\.checkpoint"),
    (
        r"os.rename /bundle\.report\.html\.partial",
        r"\.bundle\.lock bundle bundle\.checkpoint bundle\.report\.html\.partial bundle\.report\.json",
    ),
    (r"os.remove /\.bundle\.lock", r"\.bundle\.lock bundle bundle\.report\.html bundle\.report\.json"),
]
FINISHED = (0, "bundle bundle.report.html bundle.report.json")


def content(folder: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Manifest, report without its times, and page."""
    report = json.loads((folder / "bundle.report.json").read_text(encoding="utf-8"))
    report = {name: value for name, value in report.items() if name not in ("seconds", "samples_per_second")}
    page = (folder / "bundle.report.html").read_text(encoding="utf-8")
    return open_bundle(folder / "bundle").manifest.to_json(), report, page


def test_a_training_killed_at_each_of_its_steps_ends_as_one_that_was_not(dataset_path: Path, tmp_path: Path) -> None:
    moments = [moment for moment, _ in KILLED]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fixtures.killed_training", str(tmp_path), str(dataset_path), *moments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    printed = [line.partition(" ") for line in ended.stdout.splitlines()]
    whole, *killed, last = [(int(status), names) for status, _, names in printed]
    for (moment, left), (status, found) in zip(KILLED, killed, strict=True):
        assert status == signal.SIGKILL, moment
        assert re.fullmatch(left, found), moment
    assert whole == last == FINISHED
    assert content(tmp_path / "killed") == content(tmp_path / "whole")
