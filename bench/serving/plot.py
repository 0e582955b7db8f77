"""The results as one picture: cost of scoring, throughput of services, and latency under load."""

from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullFormatter

from bench.serving.results import Results, ScoringResults
from bench.serving.setting import SHORT
from bench.serving.under_load import Load, ServiceResults
from dinrank.training.report.theme import BLUE, ORANGE

_OURS = "dinrank"
_PANEL_HEIGHT, _WIDTH = 3.2, 9.0
_PERCENTILES = {"p50": ":", "p95": "--", "p99": "-"}


def draw(results: Results, path: Path) -> None:
    """Write the picture as SVG and PNG, a panel per measurement.

    Args:
        path: without a suffix.
    """
    panels = _panels(results)
    if not panels:
        return
    with rc_context({"svg.hashsalt": "dinrank", "text.parse_math": False}):
        figure = Figure(figsize=(_WIDTH, _PANEL_HEIGHT * len(panels)), layout="constrained")
        for axes, panel in zip(figure.subplots(len(panels), 1, squeeze=False)[:, 0], panels, strict=True):
            panel(axes)
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=110)


def _panels(results: Results) -> list[Callable[[Axes], None]]:
    panels: list[Callable[[Axes], None]] = []
    for scoring in results.scoring:
        if scoring.shape == SHORT and scoring.timings:
            panels.append(lambda axes, found=scoring: _draw_scoring(axes, found))
    for service in results.services:
        panels.append(lambda axes, found=service: _draw_saturation(axes, found))
        for name in (name for name in service.loads if name.startswith(_OURS)):
            panels.append(lambda axes, found=service, who=name: _draw_loads(axes, found, who))
    return panels


def _draw_scoring(axes: Axes, results: ScoringResults) -> None:
    values = {name: timing.cpu_ms for name, timing in results.timings.items()}
    _draw_bars(axes, values, "{:.1f} ms")
    axes.set_title(f"{results.network}, scoring alone on one core, {results.shape}, ms of CPU time")


def _draw_saturation(axes: Axes, results: ServiceResults) -> None:
    values = {name: found.per_second for name, found in results.saturations.items()}
    _draw_bars(axes, values, "{:.0f}/s")
    axes.set_title(f"answers per second at saturation, 2 workers, {results.shape}")


def _draw_bars(axes: Axes, values: dict[str, float], label: str) -> None:
    bars = axes.barh(list(values), list(values.values()), color=[_colour(name) for name in values])
    axes.bar_label(bars, [label.format(value) for value in values.values()], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)


def _draw_loads(axes: Axes, results: ServiceResults, name: str) -> None:
    loads: Sequence[Load] = results.loads[name]
    shares = [100 * load.share for load in loads]
    for percentile, style in _PERCENTILES.items():
        values = [getattr(load, f"{percentile}_ms") for load in loads]
        axes.plot(shares, values, style, color=BLUE, marker="o", markersize=3, label=percentile)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("requests, % of what the service takes at saturation")
    axes.set_ylabel("latency, ms")
    errors = axes.twinx()
    errors.bar(shares, [100 * load.errors / load.sent for load in loads], width=4, color=ORANGE, alpha=0.5)
    errors.set_ylabel("errors, %")
    errors.set_ylim(0, 100)
    axes.legend(loc="upper left")
    axes.set_title(f"{name}: open-loop load, {results.shape}")


def _colour(name: str) -> str:
    return BLUE if name.startswith(_OURS) else ORANGE
