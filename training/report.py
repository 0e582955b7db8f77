"""What a run leaves behind in numbers: `report.json` and the lines on the screen."""

import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.table import Table

_LIBRARIES = ("dinrank", "torch", "onnx", "onnxruntime", "numpy", "polars")


def library_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def source_commit() -> str | None:
    """The commit of the code that runs, `-dirty` when it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def report_path(bundle: Path) -> Path:
    """`bundles/din` has its report beside it in `bundles/din.report.json`."""
    return bundle.with_name(f"{bundle.name}.report.json")


def html_report_path(bundle: Path) -> Path:
    """The same for people to read, in `bundles/din.report.html`."""
    return bundle.with_name(f"{bundle.name}.report.html")


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(report, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def metrics_table(title: str, by_split: Mapping[str, Mapping[str, float]]) -> Table:
    table = Table("split", "AUC", "GAUC", "log loss", "Σctr/Σclicks", title=title, title_justify="left")
    for split, metrics in by_split.items():
        names = ("auc", "gauc", "log_loss", "calibration")
        table.add_row(split, *(f"{metrics[name]:.4f}" for name in names))
    return table
