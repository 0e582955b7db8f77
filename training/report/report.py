"""Report of a run: `report.json` and the tables on the screen."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from dinrank.model.bundle.staging import write_whole
from dinrank.model.layers.calibration import NoCalibration
from dinrank.training.measure.measurement import Measurement

_LIBRARIES = ("dinrank", "torch", "onnx", "onnxruntime", "numpy", "polars")


def library_versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES}


def source_commit() -> str | None:
    """Return the commit of the running code, `-dirty` if it was changed since; None outside a git checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return result.stdout.strip()


def count_parameters(network: nn.Module) -> dict[str, int]:
    """Count parameters in embedding tables, which grow with the vocabularies, and in everything else."""
    tables = sum(module.weight.numel() for module in network.modules() if isinstance(module, nn.Embedding))
    return {"tables": tables, "layers": sum(weight.numel() for weight in network.parameters()) - tables}


def report_path(bundle: Path) -> Path:
    """Return the report's path: `bundles/din.report.json` for `bundles/din`."""
    return bundle.with_name(f"{bundle.name}.report.json")


def html_report_path(bundle: Path) -> Path:
    """Return the HTML report's path: `bundles/din.report.html` for `bundles/din`."""
    return bundle.with_name(f"{bundle.name}.report.html")


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    write_whole(path, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def show_measurement(console: Console, title: str, measurement: Measurement, negative_sampling_rate: float) -> None:
    """Print the table of metrics, and notes on the CTRs."""
    console.print(metrics_table(title, measurement))
    if measurement.calibration.warning:
        console.print(f"[bold yellow]warning:[/] {measurement.calibration.warning}", highlight=False)
    if negative_sampling_rate < 1.0:
        console.print(
            "The figures are of the rows as they are, with a share of "
            f"{negative_sampling_rate:g} of the not-clicked impressions (negative_sampling_rate). "
            "The bundle serves CTRs that are corrected for it.",
            highlight=False,
        )


def metrics_table(title: str, measurement: Measurement) -> Table:
    """A row per split of the network's own CTRs and, where they were calibrated, one of the calibrated CTRs.

    AUC and GAUC appear once: calibration keeps the order.
    """
    is_calibrated = not isinstance(measurement.calibration.layer, NoCalibration)
    order, values = ("auc", "gauc"), ("log_loss", "calibration", "expected_calibration_error")
    table = Table("split", "CTRs", "AUC", "GAUC", "log loss", "Σctr/Σclicks", "ECE", title=title, title_justify="left")
    for split, metrics in measurement.before.items():
        table.add_row(split, "as trained", *(f"{metrics[name]:.4f}" for name in (*order, *values)))
        if is_calibrated:
            table.add_row("", "calibrated", "", "", *(f"{measurement.after[split][name]:.4f}" for name in values))
    return table


def describe_machine() -> dict[str, Any]:
    """Describe the machine and its current load."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "load": os.getloadavg(),
    }
