"""Summarise the reports of runs as a row per network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from dinrank.training.compare.contenders import Contender
from dinrank.training.data.split import TEST, VALID
from dinrank.training.measure.metrics import rela_impr

BASE = "base"
Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Spread:
    """Mean and standard deviation over seeds; no deviation for one seed.

    The deviation is the sample's: squares divided by the number of seeds less one.
    """

    mean: float
    std: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(mean(values), stdev(values) if len(values) > 1 else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Results of one contender's finished runs; metrics are of calibrated CTRs.

    Attributes:
        test: by metric.
        rela_impr: in percent over `base`, by metric, of the means; without a base that is better than chance, none.
        best_epochs: in the order of `seeds`.
        seconds, samples_per_second: of training, the mean over seeds.
        p50_ms: to score the candidates of one request; None until it is measured.
    """

    name: str
    model: str
    seeds: list[int]
    test: dict[str, Spread]
    valid_gauc: Spread
    rela_impr: dict[str, float]
    best_epochs: list[float]
    parameters: dict[str, int]
    seconds: float
    samples_per_second: float
    p50_ms: float | None = None


def summarise(
    reports: Mapping[Contender, Sequence[Report]], latencies_ms: Mapping[str, float] | None = None
) -> list[Row]:
    """Return a row for each contender that has reports, best test GAUC first."""
    base = next((found for contender, found in reports.items() if contender.name == BASE), ())
    latencies_ms = latencies_ms or {}
    rows = [
        _row(contender, found, base, latencies_ms.get(contender.name)) for contender, found in reports.items() if found
    ]
    return sorted(rows, key=_order)


def _order(row: Row) -> float:
    gauc = row.test["gauc"].mean
    return math.inf if math.isnan(gauc) else -gauc


def _row(contender: Contender, reports: Sequence[Report], base: Sequence[Report], p50_ms: float | None) -> Row:
    test = _test(reports)
    return Row(
        name=contender.name,
        model=contender.model.value,
        seeds=[report["seed"] for report in reports],
        test=test,
        valid_gauc=Spread.of([report[VALID]["gauc"] for report in reports]),
        rela_impr=_rela_impr(test, _test(base)) if base else {},
        best_epochs=[report["best_epoch"] for report in reports],
        parameters=dict(reports[0]["parameters"]),
        seconds=mean(report["seconds"] for report in reports),
        samples_per_second=mean(report["samples_per_second"] for report in reports),
        p50_ms=p50_ms,
    )


def _test(reports: Sequence[Report]) -> dict[str, Spread]:
    return {metric: Spread.of([report[TEST][metric] for report in reports]) for metric in reports[0][TEST]}


def _rela_impr(test: Mapping[str, Spread], base: Mapping[str, Spread]) -> dict[str, float]:
    return {
        metric: rela_impr(test[metric].mean, base[metric].mean)
        for metric in ("gauc", "auc")
        if base[metric].mean > 0.5  # undefined if the base is no better than chance
    }
