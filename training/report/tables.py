"""The report's facts, metrics and options as tables of text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dinrank.model.layers.calibration import CalibrationMethod

_METRIC_NAMES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "log loss",
    "calibration": "Σctr/Σclicks",
    "expected_calibration_error": "ECE",
}


@dataclass(frozen=True, slots=True)
class Table:
    """The first column names the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def facts(report: Mapping[str, Any]) -> Table:
    """Identify the run. Timings stay in report.json: they differ between otherwise equal runs."""
    dataset = report["dataset"]
    rows = {
        "model": report["model"],
        "version": report["model_version"],
        "data set": dataset["name"],
        "source": dataset["source"],
        "split": dataset["split"],
        "seed": report["seed"],
        "source commit": report["commit"] or "unknown",
        "epochs": f"{report['epochs']:g}, best {report['best_epoch']:g}",
        "versions": ", ".join(f"{name} {version}" for name, version in report["versions"].items()),
    }
    return Table(("", "this run"), tuple((name, str(value)) for name, value in rows.items() if value != ""))


def metrics(report: Mapping[str, Any], splits: Sequence[str]) -> Table:
    """Build a row per split and, if CTRs were calibrated, one of the network's own."""
    is_calibrated = report["calibration"]["method"] != CalibrationMethod.NONE
    rows = []
    for split in splits:
        if is_calibrated:
            rows.append((f"{split}, uncalibrated", report["before_calibration"][split]))
        rows.append((split, report[split]))
    names = list(report[splits[0]])
    return Table(
        ("split", *(_METRIC_NAMES.get(name, name.replace("_", " ")) for name in names)),
        tuple((title, *(number(values[name]) for name in names)) for title, values in rows),
    )


def options(config: Mapping[str, Any]) -> Table:
    """List the config, with the network's options as `network.tower`."""
    return Table(("option", "value"), tuple(_options(config, "")))


def _options(config: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _options(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def number(value: float | None) -> str:
    """
    >>> number(0.70929), number(None)
    ('0.7093', '–')
    """
    return "–" if value is None else f"{value:.4f}"
