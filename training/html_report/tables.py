"""The report's facts, metrics and options as tables of text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_METRIC_NAMES = {
    "auc": "AUC",
    "gauc": "GAUC",
    "log_loss": "log loss",
    "calibration": "Σctr/Σclicks",
    "expected_calibration_error": "expected calibration error",
    "ece": "expected calibration error",
}


@dataclass(frozen=True, slots=True)
class Table:
    """The first column names the rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def facts(report: Mapping[str, Any]) -> Table:
    """Which run this was. Timings stay in report.json: they differ between runs that are otherwise the same."""
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
    """A row per split, and one per group of metrics within a split, such as those before calibration."""
    rows = [row for split in splits for row in _metric_rows(split, report[split])]
    names = list(dict.fromkeys(name for _, numbers in rows for name in numbers))
    return Table(
        ("split", *(_METRIC_NAMES.get(name, name.replace("_", " ")) for name in names)),
        tuple((title, *(number(numbers.get(name)) for name in names)) for title, numbers in rows),
    )


def _metric_rows(title: str, values: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, float]]]:
    yield title, {name: value for name, value in values.items() if isinstance(value, int | float)}
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _metric_rows(f"{title}, {name.replace('_', ' ')}", value)


def options(config: Mapping[str, Any], prefix: str = "") -> Table:
    """The config, the network's options as `network.tower`."""
    rows: list[tuple[str, str]] = []
    for name, value in config.items():
        if isinstance(value, Mapping):
            rows += options(value, f"{prefix}{name}.").rows  # type: ignore[arg-type]  # two columns, as here
        else:
            rows.append((f"{prefix}{name}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    return Table(("option", "value"), tuple(rows))


def number(value: float | None) -> str:
    """
    >>> number(0.70929), number(None)
    ('0.7093', '–')
    """
    return "–" if value is None else f"{value:.4f}"
