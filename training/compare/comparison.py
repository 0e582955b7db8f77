"""Run a comparison: train the missing runs, and write tables and a picture after each."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from dinrank.model.bundle.staging import named, write_whole
from dinrank.training.compare.contenders import Contender
from dinrank.training.compare.latency import Latency, measure_latencies
from dinrank.training.compare.planned import PlannedRun
from dinrank.training.compare.plot import draw
from dinrank.training.compare.processes import Launcher, exclusive, execute
from dinrank.training.compare.summary import Report, summarise
from dinrank.training.compare.tables import Comparison
from dinrank.training.data.declaration import read_declaration
from dinrank.training.errors import ComparisonError
from dinrank.training.fit.checkpoint import fingerprint
from dinrank.training.fit.progress import RunsPerHour
from dinrank.training.report.report import describe_machine

JSON_FILE, MARKDOWN_FILE, PLOT_FILE = "comparison.json", "comparison.md", "comparison.svg"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """Options of a comparison.

    Attributes:
        seeds: 0 to this, exclusive.
        out: folder of the tables, and of the runs in `runs`.
        jobs: trainings at a time; they share torch's threads.
        command: the command line, for the header.
    """

    data: Path
    contenders: Sequence[Contender]
    seeds: int
    out: Path
    jobs: int
    command: str


def compare(options: CompareOptions, console: Console) -> None:
    """Train the missing runs, all networks with one seed before the next seed, and write the tables.

    Raises:
        DatasetError: no dataset in `options.data`.
        BundleError: a bundle of an earlier run was changed.
        ComparisonError: a run there has other settings, another comparison writes there, or runs failed. The others
            were trained and are in the tables.
    """
    read_declaration(options.data / "schema.toml")
    folder = options.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(options.out) as lock:
        scoreboard = _Scoreboard(options, console, _plan(options, folder), fingerprint(options.data))
        scoreboard.take_finished()
        threads = max(1, torch.get_num_threads() // options.jobs)
        try:
            failed = _train_missing(scoreboard, Launcher(options.data, threads, lock), options.jobs)
        except KeyboardInterrupt:
            console.print("stopped; the same command goes on from here")
            raise
        scoreboard.finish()
    if failed:
        lines = [f"{len(failed)} of {len(scoreboard.plan)} runs failed:", *map(_describe, failed)]
        raise ComparisonError("\n".join(lines))


def _plan(options: CompareOptions, folder: Path) -> list[PlannedRun]:
    """Plan seed by seed, so that an interrupted comparison is still a comparison."""
    return [PlannedRun(contender, seed, folder) for seed in range(options.seeds) for contender in options.contenders]


def _train_missing(scoreboard: "_Scoreboard", launch: Launcher, jobs: int) -> list[PlannedRun]:
    """Train the missing runs; return those that failed."""
    missing = scoreboard.missing()
    failed = []
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("runs"),
        RunsPerHour(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("left, {task.description}"),
    )
    with Progress(*columns, console=scoreboard.console, transient=True) as progress:
        task = progress.add_task("", total=len(scoreboard.plan), completed=len(scoreboard.plan) - len(missing))

        def show_running(names: Sequence[str]) -> None:
            progress.update(task, description=f"now {', '.join(names)}")

        with closing(execute(missing, launch, jobs=jobs, on_change=show_running)) as ended:
            for run, status in ended:
                if status == 0:
                    scoreboard.take(run)
                else:
                    failed.append(run)
                    line = f"[bold red]failed[/] {escape(_describe(run))}"
                    scoreboard.console.print(line, highlight=False, soft_wrap=True)
                progress.advance(task)
    return failed


def _describe(run: PlannedRun) -> str:
    lines = run.log.read_text(encoding="utf-8").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f"{run.name}, see {run.log}: {last}"


@dataclass(slots=True)
class _Scoreboard:
    """The finished runs and the files with their results.

    Attributes:
        dataset_sha256: of the data set.
        reports: by run name.
    """

    options: CompareOptions
    console: Console
    plan: Sequence[PlannedRun]
    dataset_sha256: str
    reports: dict[str, Report] = field(default_factory=dict)

    def take_finished(self) -> None:
        """Load the runs of an earlier comparison; all are checked before anything is trained."""
        for run in self.plan:
            report = run.read_report(dataset_sha256=self.dataset_sha256)
            if report is not None:
                self.reports[run.name] = report
        if self.reports:
            self.console.print(f"{len(self.reports)} of {len(self.plan)} runs are done already", highlight=False)

    def missing(self) -> list[PlannedRun]:
        return [run for run in self.plan if run.name not in self.reports]

    def take(self, run: PlannedRun) -> None:
        """Add and show a run that has just succeeded."""
        report = run.read_report(dataset_sha256=self.dataset_sha256)
        assert report is not None, f"{run.name} ended well and left no {run.report}"
        self.reports[run.name] = report
        self._write({})
        self.console.print(
            f"{run.name:24}  test GAUC {report['test']['gauc']:.4f}  AUC {report['test']['auc']:.4f}  "
            f"best epoch {report['best_epoch']:g}  training {report['seconds']:.1f} s",
            highlight=False,
            soft_wrap=True,
        )

    def finish(self) -> None:
        """Time each network with its first remaining bundle, and write the final tables."""
        if not self.reports:
            return
        first = {
            run.contender.name: run.bundle
            for run in reversed(self.plan)
            if run.name in self.reports and run.bundle.exists()
        }
        with self.console.status("measuring how long scoring takes"):
            latencies = measure_latencies(first)
        self._write(latencies)
        self.console.print(f"tables in {self.options.out / MARKDOWN_FILE}", highlight=False)

    def _write(self, latencies: Mapping[str, Latency]) -> None:
        comparison = self._comparison(latencies)
        document = json.dumps(comparison.to_json(), indent=2, ensure_ascii=False)
        write_whole(self.options.out / JSON_FILE, document + "\n")
        write_whole(self.options.out / MARKDOWN_FILE, comparison.to_markdown())
        with named(self.options.out / PLOT_FILE):
            draw(comparison.rows, self.options.out / PLOT_FILE, dataset=comparison.dataset["name"])

    def _comparison(self, latencies: Mapping[str, Latency]) -> Comparison:
        reports: dict[Contender, list[Report]] = {contender: [] for contender in self.options.contenders}
        for run in self.plan:
            if run.name in self.reports:
                reports[run.contender].append(self.reports[run.name])
        finished = list(self.reports.values())
        return Comparison(
            dataset=finished[0]["dataset"],
            command=self.options.command,
            machine=describe_machine(),
            jobs=self.options.jobs,
            epochs=sorted({contender.config.epochs for contender in self.options.contenders}),
            commits=sorted({str(report["commit"]) for report in finished}),
            threads=sorted({report["threads"] for report in finished}),
            versions=_distinct([report["versions"] for report in finished]),
            rows=summarise(reports, {name: latency.p50_ms for name, latency in latencies.items()}),
            unfinished=[run.name for run in self.missing()],
            behaviours=next((latency.behaviours for latency in latencies.values()), None),
        )


def _distinct(values: Sequence[Any]) -> list[Any]:
    return [value for position, value in enumerate(values) if value not in values[:position]]
