"""The comparison as one picture: quality by network, best on top, beside the cost of scoring."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from dinrank.training.compare.latency import NUM_CANDIDATES
from dinrank.training.compare.summary import BASE, Row
from dinrank.training.report.theme import BLUE, ORANGE


def draw(rows: Sequence[Row], path: Path, *, dataset: str) -> None:
    """Write the picture as SVG; equal rows give equal files.

    Args:
        rows: best first.
    """
    has_cost = all(row.p50_ms is not None for row in rows)
    with rc_context({"svg.hashsalt": "dinrank", "text.parse_math": False}):
        figure = Figure(figsize=(10 if has_cost else 6.5, 1.4 + 0.3 * len(rows)), layout="constrained")
        panels = figure.subplots(
            1, 2 if has_cost else 1, sharey=True, squeeze=False, width_ratios=[3, 2][: 1 + has_cost]
        )
        _draw_quality(panels[0, 0], rows)
        if has_cost:
            _draw_cost(panels[0, 1], rows)
        figure.suptitle(f"Networks on {dataset}")
        figure.savefig(path, format="svg", metadata={"Date": None})


def _draw_quality(axes: Axes, rows: Sequence[Row]) -> None:
    positions = range(len(rows))
    spreads = [row.test["gauc"] for row in rows]
    base = next((row for row in rows if row.name == BASE), None)
    if base is not None:
        reference = base.test["gauc"].mean
        axes.axvline(reference, color=ORANGE, linestyle="--", linewidth=1)
        axes.annotate(
            BASE,
            (reference, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=ORANGE,
        )
    axes.errorbar(
        [spread.mean for spread in spreads],
        positions,
        xerr=[spread.std or 0.0 for spread in spreads],
        fmt="o",
        color=BLUE,
        capsize=3,
    )
    axes.set_yticks(positions, [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    num_seeds = max(len(row.seeds) for row in rows)
    axes.set_xlabel("test GAUC, mean ± std over seeds" if num_seeds > 1 else "test GAUC, one seed")
    axes.grid(axis="both", alpha=0.3)


def _draw_cost(axes: Axes, rows: Sequence[Row]) -> None:
    for position, row in enumerate(rows):
        assert row.p50_ms is not None
        axes.plot(row.p50_ms, position, "o", color=BLUE)
        label = f"{row.p50_ms:.2f}" if row.p50_ms < 10.0 else f"{row.p50_ms:.0f}"
        axes.annotate(label, (row.p50_ms, position), xytext=(6, -3), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.15)
    axes.set_xlabel(f"ms to score {NUM_CANDIDATES} candidates, one thread, log scale")
    axes.tick_params(left=False)
    axes.grid(axis="both", alpha=0.3)
