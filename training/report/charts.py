"""The report's figures, each with its title, text alternative and the numbers as a table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from dinrank.training.report.figures import Draw, gauc_by_bucket, heat_map, item_label, lines, reliability_diagram
from dinrank.training.report.svg import draw_svg
from dinrank.training.report.tables import Table, number

_WIDTH, _HEIGHT = 4.7, 3.2  # a phone's width at the size of text around it

_WIDE = 9.6


@dataclass(frozen=True, slots=True)
class Chart:
    """Attributes:
    description: text alternative of the figure.
    is_wide: takes the page's width; scrolls sideways on a phone.
    """

    title: str
    description: str
    svg: Markup
    table: Table
    is_wide: bool = False


def training_charts(report: Mapping[str, Any]) -> list[Chart]:
    """Chart loss and ranking by epoch, from the looks at valid."""
    evaluations = report["evaluations"]
    epochs = [evaluation["epoch"] for evaluation in evaluations]
    valid = {name: [evaluation["valid"][name] for evaluation in evaluations] for name in ("log_loss", "gauc", "auc")}
    loss = {"train loss": [evaluation["train_loss"] for evaluation in evaluations], "valid log loss": valid["log_loss"]}
    ranking = {"valid GAUC": valid["gauc"], "valid AUC": valid["auc"]}
    charts = []
    for name, title, series in (("loss", "Loss by epoch", loss), ("ranking", "Ranking by epoch", ranking)):
        courses = [f"{label} goes from {number(y[0])} to {number(y[-1])}" for label, y in series.items()]
        text = f"{'; '.join(courses)}, in {len(epochs)} looks at valid. The best is epoch {report['best_epoch']:g}."
        rows = [(f"{epoch:g}", *map(number, row)) for epoch, *row in zip(epochs, *series.values(), strict=True)]
        draw = lines(epochs, series, x_label="epoch", mark=report["best_epoch"])
        charts.append(_chart(name, title, text, draw, Table(("epoch", *series), tuple(rows))))
    return charts


def reliability_charts(
    by_split: Mapping[str, Mapping[str, Any]], before_by_split: Mapping[str, Mapping[str, Any]]
) -> list[Chart]:
    """A diagram per split, all with the same axes."""
    top = _common_end([*by_split.values(), *before_by_split.values()])
    charts = []
    for split, numbers in by_split.items():
        before = before_by_split.get(split)
        rows = _reliability_rows("", numbers["bins"])
        text = _agreement(numbers["bins"])
        if before is not None:
            rows = _reliability_rows("calibrated, ", numbers["bins"])
            rows += _reliability_rows("uncalibrated, ", before["bins"])
            text = f"Calibrated: {text} Uncalibrated: {_agreement(before['bins'])}"
        table = Table(("bin", "impressions", "mean CTR", "click rate", "from", "to"), tuple(rows))
        draw = reliability_diagram(numbers, before, top=top)
        charts.append(_chart(f"reliability-{split}", f"Reliability on {split}", text, draw, table, height=4.2))
    return charts


def _common_end(diagrams: Sequence[Mapping[str, Any]]) -> float:
    """Return the end of both axes: a little beyond all values, at most 1."""
    ends = [found["high"] for numbers in diagrams for found in numbers["bins"]]
    highest: float = max(*ends, *(numbers["histogram_edges"][-1] for numbers in diagrams))
    return min(1.0, 1.05 * highest)


def _agreement(bins: Sequence[Mapping[str, Any]]) -> str:
    within = sum(found["low"] <= found["mean_ctr"] <= found["high"] for found in bins)
    worst = max(bins, key=lambda found: abs(found["click_rate"] - found["mean_ctr"]))
    return (
        f"in {within} of {len(bins)} bins the mean CTR lies within the click rate's 95 % interval; the two are "
        f"furthest apart at a mean CTR of {number(worst['mean_ctr'])}, where the click rate is "
        f"{number(worst['click_rate'])}."
    )


def _reliability_rows(prefix: str, bins: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{prefix}{place}",
            f"{found['num_impressions']:,}",
            *(number(found[name]) for name in ("mean_ctr", "click_rate", "low", "high")),
        )
        for place, found in enumerate(bins, start=1)
    ]


def gauc_chart(name: str, title: str, by_split: Mapping[str, Sequence[Mapping[str, Any]]], *, x_label: str) -> Chart:
    texts, rows = [], []
    for split, buckets in by_split.items():
        known = [f"{bucket['label']}: {number(bucket['gauc'])}" for bucket in buckets if bucket["gauc"] is not None]
        texts.append(f"GAUC on {split} by {x_label}: {', '.join(known) or 'too few users in every bucket'}.")
        for bucket in buckets:
            counts = (f"{bucket[count]:,}" for count in ("num_impressions", "num_users"))
            rows.append((f"{split}, {bucket['label']}", *counts, _with_interval(bucket)))
    table = Table(("bucket", "impressions", "users that count", "GAUC (95 % interval)"), tuple(rows))
    return _chart(name, title, " ".join(texts), gauc_by_bucket(by_split, x_label=x_label), table)


def _with_interval(bucket: Mapping[str, Any]) -> str:
    if bucket["gauc"] is None:
        return "too few users"
    return f"{number(bucket['gauc'])} ({number(bucket['low'])} to {number(bucket['high'])})"


def activation_charts(activations: Mapping[str, Any]) -> list[Chart]:
    """A heat map per user, all with one scale of colours."""
    maps = activations["maps"]
    everywhere = [weight for found in maps for row in found["weights_CT"] for weight in row]
    limit = float(np.max(np.abs(everywhere), initial=0.0)) or 1.0
    charts = []
    for place, found in enumerate(maps, start=1):
        shown = len(found["behaviours"])
        of = f"the newest {shown} of {found['num_behaviours']}" if shown < found["num_behaviours"] else str(shown)
        weights = [weight for row in found["weights_CT"] for weight in row]
        top = max(range(shown), key=found["weights_CT"][0].__getitem__)
        text = (
            f"{len(found['candidates'])} candidates against {of} behaviours. Weights go from {min(weights):.3f} to "
            f"{max(weights):.3f}; the clicked candidate activates {item_label(found['behaviours'][top])} most."
        )
        behaviours = (item_label(item) for item in found["behaviours"])
        rows = [
            (item_label(item), *(f"{weight:.3f}" for weight in row))
            for item, row in zip(found["candidates"], found["weights_CT"], strict=True)
        ]
        table = Table(("candidate", *behaviours), tuple(rows))
        draw = heat_map(found, limit=limit)
        height = 2.2 + 0.2 * len(rows)
        charts.append(_chart(f"weights-{place}", f"User {found['user_id']}", text, draw, table, _WIDE, height))
    return charts


def _chart(
    name: str,
    title: str,
    description: str,
    draw: Draw,
    table: Table,
    width: float = _WIDTH,
    height: float = _HEIGHT,
) -> Chart:
    description = description[0].upper() + description[1:]
    svg = draw_svg(draw, name=name, title=title, description=description, width=width, height=height)
    return Chart(title, description, Markup(svg), table, is_wide=width > _WIDTH)  # ElementTree has escaped all text
