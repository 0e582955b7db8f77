"""The report's figures, each drawn from the numbers of `report.json`; titles and text alternatives are the page's."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dinrank.training.report.theme import BLUE, MUTED, ORANGE, SURFACE, diverging_scale, text_colour

Draw = Callable[[Figure], None]

MAX_LABEL = 22  # characters of an item's label

CELL_SIZE = 6.5  # of the weights in a heat map

MAX_LEVEL_LABEL = 6  # characters of a bucket's label that fit beside each other

# Marker, line and colour of the first and the second series; no two share any.
_SERIES: Sequence[dict[str, Any]] = (
    {"color": BLUE, "marker": "o", "linestyle": "-"},
    {"color": ORANGE, "marker": "s", "linestyle": "--"},
)


def lines(x: Sequence[float], series: Mapping[str, Sequence[float]], *, x_label: str, mark: float | None) -> Draw:
    """One or two lines over the same x; `mark` puts a vertical line, labelled best, at an x."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        for look, (name, y) in zip(_SERIES, series.items(), strict=False):
            axes.plot(x, y, label=name, **look)
        if mark is not None:
            axes.axvline(mark, color=MUTED, linestyle=":", linewidth=1.5, label="best")
        axes.set_xlabel(x_label)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6, min_n_ticks=2, steps=[1, 2, 5, 10]))
        _legend_above(axes)

    return draw


def reliability_diagram(numbers: Mapping[str, Any], before: Mapping[str, Any] | None, *, top: float) -> Draw:
    """Click rate over mean CTR with the diagonal, and below it the histogram of CTRs.

    Args:
        before: the same before calibration, if there was one.
        top: end of both axes.
    """

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.plot([0, top], [0, top], color=MUTED, linestyle=":", linewidth=1.5, label="perfect")
        if before is not None:
            ctr, rate = _columns(before["bins"], "mean_ctr", "click_rate")
            upper.plot(ctr, rate, label="uncalibrated", **_SERIES[1])
        ctr, rate, low, high = _columns(numbers["bins"], "mean_ctr", "click_rate", "low", "high")
        errors = np.stack([rate - low, high - rate]).clip(min=0.0)
        upper.errorbar(ctr, rate, yerr=errors, capsize=2, label="calibrated" if before else "observed", **_SERIES[0])
        upper.set(ylabel="click rate", xlim=(0, top), ylim=(0, top))
        _legend_above(upper)
        edges, counts = numbers["histogram_edges"], numbers["histogram_counts"]
        lower.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=BLUE, edgecolor=SURFACE, linewidth=0.5)
        lower.set(xlabel="predicted CTR", ylabel="impressions")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
        for axis in (upper.xaxis, upper.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10]))

    return draw


def _columns(rows: Sequence[Mapping[str, Any]], *names: str) -> list[NDArray[np.float64]]:
    return [np.array([row[name] for row in rows]) for name in names]


def gauc_by_bucket(by_split: Mapping[str, Sequence[Mapping[str, Any]]], *, x_label: str) -> Draw:
    """A point with its 95 % interval per bucket and split; a bucket without GAUC says so."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axhline(0.5, color=MUTED, linestyle=":", linewidth=1.5, label="chance")
        has_gauc = np.zeros(len(next(iter(by_split.values()))), dtype=bool)
        for series, (split, buckets) in enumerate(by_split.items()):
            shown = [place for place, bucket in enumerate(buckets) if bucket["gauc"] is not None]
            has_gauc[shown] = True
            low, gauc, high = _columns([buckets[place] for place in shown], "low", "gauc", "high")
            x = np.array(shown, dtype=float) + (series - (len(by_split) - 1) / 2) * 0.2
            look = _SERIES[series] | {"linestyle": "none"}
            axes.errorbar(x, gauc, yerr=np.stack([gauc - low, high - gauc]), capsize=2, label=split, **look)
        for place in np.flatnonzero(~has_gauc).tolist():
            axes.text(place, 0.52, "too few users", rotation=90, ha="center", va="bottom", color=MUTED, fontsize=9)
        labels = [bucket["label"] for bucket in next(iter(by_split.values()))]
        is_long = max(map(len, labels)) > MAX_LEVEL_LABEL
        axes.set_xticks(range(len(labels)), labels, rotation=30 if is_long else 0, ha="right" if is_long else "center")
        axes.set(xlabel=x_label, ylabel="GAUC", xlim=(-0.5, len(labels) - 0.5))
        axes.grid(visible=False, axis="x")
        if not has_gauc.any():
            axes.set_ylim(0.45, 1.0)
        _legend_above(axes)

    return draw


def heat_map(activation: Mapping[str, Any], *, limit: float) -> Draw:
    """Draw candidates down, behaviours across, oldest left; the scale goes from −limit to limit."""

    def draw(figure: Figure) -> None:
        axes = figure.add_subplot()
        weights_CT = np.array(activation["weights_CT"])
        mesh = axes.pcolormesh(
            weights_CT,
            cmap=ListedColormap(diverging_scale()),
            vmin=-limit,
            vmax=limit,
            edgecolors=SURFACE,
            linewidth=0.5,
        )
        for (row, column), weight in np.ndenumerate(weights_CT):
            text = axes.text(column + 0.5, row + 0.5, f"{weight:.2f}", ha="center", va="center", fontsize=CELL_SIZE)
            text.set_color(text_colour(abs(weight) / limit))
        rows, columns = ([item_label(item) for item in activation[name]] for name in ("candidates", "behaviours"))
        rows[0] = f"clicked: {rows[0]}"
        axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
        axes.set_xticks(np.arange(len(columns)) + 0.5, columns, rotation=90)
        axes.tick_params(length=0, labelsize=8)
        axes.invert_yaxis()
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("behaviours, oldest to newest")
        bar = figure.colorbar(mesh, ax=axes, pad=0.01, aspect=15)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=8)

    return draw


def item_label(item: Mapping[str, str]) -> str:
    """Short, and without the control characters that XML cannot hold."""
    raw = f"{item['item_id']} {item['attribute']}".strip()
    text = "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in raw)
    return text if len(text) <= MAX_LABEL else f"{text[: MAX_LABEL - 1]}…"


def _legend_above(axes: Axes) -> None:
    """Beside the data, never on it."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2, handlelength=2.4)
