"""Two networks with two seeds on the invented dataset: stopped, then gone on with while one run fails."""

import dataclasses
import io
import json
import signal
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
from rich.console import Console

from dinrank.model.bundle.schema import Group
from dinrank.training.compare.comparison import CompareOptions, compare
from dinrank.training.compare.contenders import read_contenders
from dinrank.training.config import TrainConfig
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.errors import ComparisonError
from dinrank.training.measure.metrics import rela_impr
from tests.fixtures.training import training_from

CONFIG = """
batch_size = 64
learning_rate = 0.02
embedding_learning_rate = 0.02
average_every = 1
evaluations_per_epoch = 1

[network]
embedding_dim = 4
embedding_std = 0.1
tower = [8]
"""
RUNS = ("lr-0", "base-0", "lr-1", "base-1")


@pytest.fixture(scope="module")
def options(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> CompareOptions:
    folder = tmp_path_factory.mktemp("compared")
    (folder / "train.toml").write_text(CONFIG, encoding="utf-8")
    return CompareOptions(
        data=dataset_path,
        contenders=read_contenders("lr,base", config=TrainConfig.read(folder / "train.toml"), epochs=2),
        seeds=2,
        out=folder / "out",
        jobs=2,
        command="python -m training compare ...",
    )


@dataclasses.dataclass
class Stage:
    """What one call of the comparison left."""

    screen: str
    document: dict[str, Any]
    markdown: str
    times: dict[str, int]

    @classmethod
    def of(cls, out: Path, screen: str) -> "Stage":
        return cls(
            screen,
            json.loads((out / "comparison.json").read_text(encoding="utf-8")),
            (out / "comparison.md").read_text(encoding="utf-8"),
            {
                path.name: path.stat().st_mtime_ns
                for path in (out / "runs").iterdir()
                if path.name.endswith((".log", ".report.json"))
            },
        )


@pytest.fixture(scope="module")
def stopped(options: CompareOptions) -> Stage:
    """The command as a user runs it, told to end after its first run."""
    arguments = ["--data", options.data, "--models", "lr,base", "--seeds", "2", "--epochs", "2"]
    arguments += ["--config", options.out.parent / "train.toml", "--out", options.out]
    with training_from("lr-0 ", "compare", *arguments) as process:
        assert process.stdout is not None
        process.send_signal(signal.SIGTERM)
        screen = process.stdout.read()
    assert process.returncode != 0
    return Stage.of(options.out, screen)


@pytest.fixture(scope="module")
def with_a_failure(options: CompareOptions, stopped: Stage) -> Stage:
    """Gone on with, while something lies where the bundle of base-1 would go."""
    obstacle = options.out / "runs" / "base-1"
    obstacle.mkdir()
    screen = io.StringIO()
    with pytest.raises(ComparisonError, match=r"1 of 4 runs failed:\nbase-1, see .*base-1\.log: error: .* exists; "):
        compare(options, Console(file=screen))
    return Stage.of(options.out, screen.getvalue())


def test_a_stopped_comparison_shows_what_it_has_and_names_the_rest(stopped: Stage) -> None:
    assert "stopped; the same command goes on from here" in stopped.screen
    assert [(row["name"], row["seeds"], row["p50_ms"]) for row in stopped.document["rows"]] == [("lr", [0], None)]
    assert stopped.document["unfinished"] == list(RUNS[1:])
    assert "**Not finished, left out**: base-0, lr-1, base-1" in stopped.markdown
    assert "Scoring has not been measured yet" in stopped.markdown


def test_a_failed_run_leaves_the_others_alone(with_a_failure: Stage) -> None:
    assert {row["name"]: row["seeds"] for row in with_a_failure.document["rows"]} == {"lr": [0, 1], "base": [0]}
    assert with_a_failure.document["unfinished"] == ["base-1"]
    assert "failed base-1, see" in with_a_failure.screen


def test_a_finished_run_is_not_repeated(stopped: Stage, with_a_failure: Stage) -> None:
    assert "1 of 4 runs are done already" in with_a_failure.screen
    unchanged = {name for name, time in with_a_failure.times.items() if stopped.times.get(name) == time}
    assert unchanged == {"lr-0.log", "lr-0.report.json"}


def test_the_table_is_that_of_the_reports(options: CompareOptions, with_a_failure: Stage) -> None:
    reports = {name: json.loads((options.out / "runs" / f"{name}.report.json").read_text()) for name in RUNS[:3]}
    gaucs = {
        name: [reports[run]["test"]["gauc"] for run in runs]
        for name, runs in {"lr": ["lr-0", "lr-1"], "base": ["base-0"]}.items()
    }
    rows = {row["name"]: row for row in with_a_failure.document["rows"]}
    assert list(rows) == sorted(gaucs, key=lambda name: -mean(gaucs[name]))
    assert rows["lr"]["test"]["gauc"] == {"mean": mean(gaucs["lr"]), "std": stdev(gaucs["lr"])}
    assert rows["base"]["test"]["gauc"] == {"mean": gaucs["base"][0], "std": None}
    for name, row in rows.items():
        assert row["rela_impr"]["gauc"] == pytest.approx(rela_impr(mean(gaucs[name]), gaucs["base"][0]))
        assert row["p50_ms"] > 0.0
    assert [report["seed"] for report in reports.values()] == [0, 0, 1]
    assert {report["config"]["epochs"] for report in reports.values()} == {2}
    assert {report["threads"] for report in reports.values()} == {1}


def test_lr_has_a_weight_for_each_value_of_each_field_and_a_bias(
    with_a_failure: Stage, encoded_dataset: EncodedDataset
) -> None:
    """Candidate and behaviours have weights of their own."""
    schema = encoded_dataset.encoder.schema
    num_weights = sum(feature.num_indices * (1 + (feature.group is Group.ITEM)) for feature in schema.features)
    (lr,) = (row for row in with_a_failure.document["rows"] if row["name"] == "lr")
    assert lr["parameters"] == {"tables": num_weights, "layers": 1}


def test_everything_a_reader_needs_is_written(options: CompareOptions, with_a_failure: Stage) -> None:
    for wanted in ("invented (tests/fixtures/dataset.py)", options.command, "torch threads each: 1", "torch 2."):
        assert wanted in with_a_failure.markdown
    assert with_a_failure.document["commits"][0] in with_a_failure.markdown
    assert (options.out / "comparison.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert {path.name for path in (options.out / "runs").iterdir()} == {
        *(
            f"{name}{suffix}"
            for name in RUNS
            for suffix in ("", ".log", ".report.json", ".report.html")
            if name != "base-1" or ".report" not in suffix
        ),
        "lr.toml",
        "base.toml",
    }


@pytest.mark.parametrize(
    ("change", "difference"), [("epochs", "config.epochs was 2 and is 3"), ("data", "dataset_sha256")]
)
def test_other_settings_are_refused_before_anything_is_trained(
    options: CompareOptions, with_a_failure: Stage, tmp_path: Path, change: str, difference: str
) -> None:
    if change == "epochs":
        config = dataclasses.replace(options.contenders[0].config, epochs=3)
        other = dataclasses.replace(options, contenders=read_contenders("din,lr", config=config))
    else:
        (tmp_path / "schema.toml").write_bytes((options.data / "schema.toml").read_bytes() + b"# another\n")
        other = dataclasses.replace(options, data=tmp_path)
    with pytest.raises(ComparisonError, match=rf"other settings: {difference}.*choose another --out, or delete it"):
        compare(other, Console(file=io.StringIO()))
    assert Stage.of(options.out, "").times == with_a_failure.times
