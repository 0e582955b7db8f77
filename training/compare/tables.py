"""The comparison as JSON for programs and as Markdown for people."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from dinrank.training.compare.latency import NUM_CANDIDATES, ROUNDS
from dinrank.training.compare.summary import BASE, Row, Spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Rows, with everything needed to judge them.

    Attributes:
        epochs: at most, each that a network was allowed.
        commits, threads, versions: each that a finished run had; more than one when code or machine changed meanwhile.
        unfinished: names of runs without results.
        behaviours: in the request used to time scoring; None before that.
    """

    dataset: Mapping[str, str]
    command: str
    machine: Mapping[str, Any]
    jobs: int
    epochs: Sequence[int]
    commits: Sequence[str]
    threads: Sequence[int]
    versions: Sequence[Mapping[str, str]]
    rows: Sequence[Row]
    unfinished: Sequence[str]
    behaviours: int | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def to_markdown(self) -> str:
        lines = [f"# Networks on {self.dataset['name']}", "", *self._circumstances(), ""]
        lines += ["![Test GAUC and cost of each network](comparison.svg)", ""]
        lines += ["## Quality on test", "", *_table(_QUALITY, self.rows), "", *_QUALITY_NOTES, ""]
        lines += ["## Cost", "", *_table(_COST, self.rows), "", *self._cost_notes(), ""]
        return "\n".join(lines)

    def _circumstances(self) -> Iterator[str]:
        yield f"- **Data**: {self.dataset['name']} ({self.dataset['source']}); split {self.dataset['split']}"
        yield f"- **Command**: `{self.command}`"
        yield (
            f"- **Budget**: epochs at most {_range(self.epochs)}, ended earlier by patience; all options of a network "
            "are in `runs/NETWORK.toml`"
        )
        yield f"- **Source commit**: {', '.join(self.commits)}"
        yield (
            f"- **Machine**: {self.machine['processor']}, {self.machine['cores']} cores, {self.machine['system']}; "
            f"{self.jobs} at a time, torch threads each: {', '.join(map(str, self.threads))}; "
            f"load average when this was written {self.machine['load'][0]:.1f}"
        )
        for versions in self.versions:
            yield f"- **Versions**: {', '.join(f'{name} {version}' for name, version in versions.items())}"
        if self.unfinished:
            yield f"- **Not finished, left out**: {', '.join(self.unfinished)}"

    def _cost_notes(self) -> Iterator[str]:
        yield (
            "Parameters are trained numbers, those of embedding tables and those of all other layers. Training s and "
            "samples/s count training steps alone, without looks at valid and without FNN's pre-training, as means "
            "over seeds; trainings that ran at the same time slowed each other down."
        )
        yield ""
        yield (
            "Scoring has not been measured yet; it is when all runs have ended."
            if self.behaviours is None
            else f"Scoring ms is the median of {ROUNDS} runs of the exported graph on {NUM_CANDIDATES} candidates and "
            f"a history of {self.behaviours} behaviours, by ONNX Runtime on one thread, all networks taking turns; the "
            "bundles are those of the first seed."
        )


_QUALITY_NOTES = (
    "Best test GAUC first. ± is the standard deviation over seeds (of the sample, n − 1); figures without it are "
    "means. Each run chose its epoch by valid GAUC and read test once.",
    "",
    "- **GAUC**: AUC within each user, weighted by the user's impressions; **AUC**: over all impressions.",
    f"- **RelaImpr**: improvement over what chance gives, relative to `{BASE}`: (x − 0.5) / (x of {BASE} − 0.5) − 1.",
    "- **log loss**, **Σctr/Σclicks** (1 is perfect) and **ECE** (expected calibration error) are of calibrated CTRs.",
    "- **best epoch**: the one that was kept, over seeds.",
)


def _table(columns: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    yield f"| {' | '.join(columns)} |"
    yield f"|---|{'---:|' * (len(columns) - 1)}"
    for row in rows:
        yield f"| {' | '.join(cell(row) for cell in columns.values())} |"


def _spread(spread: Spread) -> str:
    return f"{spread.mean:.4f}" if spread.std is None else f"{spread.mean:.4f} ± {spread.std:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:+.2f} %"


def _range(values: Sequence[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


_QUALITY = {
    "network": lambda row: row.name,
    "seeds": lambda row: str(len(row.seeds)),
    "GAUC": lambda row: _spread(row.test["gauc"]),
    "RelaImpr of GAUC": lambda row: _percent(row.rela_impr.get("gauc")),
    "AUC": lambda row: _spread(row.test["auc"]),
    "RelaImpr of AUC": lambda row: _percent(row.rela_impr.get("auc")),
    "log loss": lambda row: f"{row.test['log_loss'].mean:.4f}",
    "Σctr/Σclicks": lambda row: f"{row.test['calibration'].mean:.3f}",
    "ECE": lambda row: f"{row.test['expected_calibration_error'].mean:.4f}",
    "valid GAUC": lambda row: f"{row.valid_gauc.mean:.4f}",
    "best epoch": lambda row: _range(row.best_epochs),
}

_COST = {
    "network": lambda row: row.name,
    "parameters in tables": lambda row: f"{row.parameters['tables']:,}",
    "in layers": lambda row: f"{row.parameters['layers']:,}",
    "training s": lambda row: f"{row.seconds:,.1f}",
    "samples/s": lambda row: f"{row.samples_per_second:,.0f}",
    "scoring ms": lambda row: "–" if row.p50_ms is None else f"{row.p50_ms:.2f}",
}
