"""Picture of a soak test: memory, files and connections, latency, one above the other, over time."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.soak.samples import Sample
from dinrank.training.report.theme import BLUE, ORANGE

_STYLES = ("-", "--", "-.", ":")
_SIZE = (9.0, 9.0)


def draw(samples: Sequence[Sample], path: Path) -> None:
    """Write the picture as SVG and PNG.

    Args:
        path: without a suffix.
    """
    minutes = [sample.at_s / 60 for sample in samples]
    with rc_context({"svg.hashsalt": "dinrank", "text.parse_math": False}):
        figure = Figure(figsize=_SIZE, layout="constrained")
        memory, counts, latency = figure.subplots(3, 1, sharex=True)
        _draw_memory(memory, minutes, samples)
        _draw_counts(counts, minutes, samples)
        for of, style in (("p50_ms", "-"), ("p99_ms", "--")):
            latency.plot(minutes, [getattr(sample, of) for sample in samples], style, color=BLUE, label=of[:3])
        latency.set_ylabel("ms per request")
        latency.set_xlabel("minutes")
        for axes in (memory, counts, latency):
            axes.set_ylim(bottom=0)
            axes.legend(loc="lower right")
        figure.savefig(path.with_suffix(".svg"), metadata={"Date": None})
        figure.savefig(path.with_suffix(".png"), dpi=110)


def _draw_memory(axes: Axes, minutes: Sequence[float], samples: Sequence[Sample]) -> None:
    for number, pid in enumerate(_pids(samples)):
        found = [sample.workers.get(pid) for sample in samples]
        style = _STYLES[number % len(_STYLES)]
        axes.plot(minutes, [each and each.rss_mb for each in found], style, color=BLUE, label=f"worker {number}, RSS")
        axes.plot(minutes, [each and each.pss_mb for each in found], style, color=ORANGE, label=f"worker {number}, PSS")
    axes.set_ylabel("MB")


def _draw_counts(axes: Axes, minutes: Sequence[float], samples: Sequence[Sample]) -> None:
    for number, pid in enumerate(_pids(samples)):
        found = [sample.workers.get(pid) for sample in samples]
        style = _STYLES[number % len(_STYLES)]
        axes.plot(minutes, [each and each.files for each in found], style, color=BLUE, label=f"worker {number}, files")
    clients = [sample.redis_clients for sample in samples]
    axes.plot(minutes, clients, color=ORANGE, label="connections of Redis")
    axes.set_ylabel("number")


def _pids(samples: Sequence[Sample]) -> list[int]:
    return sorted({pid for sample in samples for pid in sample.workers})
