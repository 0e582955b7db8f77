import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.training.compare import processes
from dinrank.training.compare.contenders import Contender
from dinrank.training.compare.planned import PlannedRun
from dinrank.training.compare.processes import Launcher
from dinrank.training.config import TrainConfig
from dinrank.training.errors import ComparisonError

CONFIG = TrainConfig(epochs=3, learning_rate=1e-7, network=NetworkConfig(tower=(20, 10)))


@pytest.fixture
def run(tmp_path: Path) -> PlannedRun:
    return PlannedRun(Contender("din-x", NetworkName.DIN, CONFIG), 1, tmp_path)


def write_report(run: PlannedRun, **changes: Any) -> None:
    report = {"model": "din", "seed": 1, "dataset_sha256": "abc", "config": CONFIG.to_json(), "commit": "any"}
    run.report.write_text(json.dumps(report | changes), encoding="utf-8")


def test_a_report_of_the_same_settings_counts_whatever_its_commit(run: PlannedRun) -> None:
    assert run.read_report(dataset_sha256="abc") is None
    write_report(run)
    report = run.read_report(dataset_sha256="abc")
    assert report is not None
    assert report["commit"] == "any"


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"model": "base"}, "model was base and is din"),
        ({"seed": 2}, "seed was 2 and is 1"),
        ({"dataset_sha256": "xyz"}, "dataset_sha256 was xyz and is abc"),
        ({"config": CONFIG.to_json() | {"epochs": 4}}, r"config\.epochs was 4 and is 3"),
        ({"config": CONFIG.to_json() | {"network": {}}}, r"config\.network\.tower was None and is \[20, 10\]"),
    ],
)
def test_a_report_of_other_settings_is_refused_and_the_difference_named(
    run: PlannedRun, changes: dict[str, Any], difference: str
) -> None:
    write_report(run, **changes)
    with pytest.raises(
        ComparisonError, match=rf"din-x-1\.report\.json is of a run with other settings: .*{difference}"
    ):
        run.read_report(dataset_sha256="abc")


def test_a_report_that_is_not_whole_is_refused(run: PlannedRun) -> None:
    run.report.write_text('{"model": "di', encoding="utf-8")
    with pytest.raises(ComparisonError, match=rf"cannot be read; delete it and {run.bundle} to repeat the run"):
        run.read_report(dataset_sha256="abc")


def test_a_run_with_a_checkpoint_is_not_done(run: PlannedRun) -> None:
    """It was killed between its report and its end."""
    write_report(run)
    assert run.read_report(dataset_sha256="abc") is not None
    (run.folder / "din-x-1.checkpoint").touch()
    assert run.read_report(dataset_sha256="abc") is None


def test_a_run_is_the_train_command_with_its_config(
    run: PlannedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[tuple[list[str], dict[str, Any]]] = []
    monkeypatch.setattr(processes.subprocess, "Popen", lambda command, **options: started.append((command, options)))
    launch = Launcher(tmp_path / "data", threads=3, lock=0)
    for _ in range(2):
        launch(run)
    command, options = started[0]
    assert " ".join(command[1:]) == (
        f"-m training train --data {tmp_path}/data --model din --seed 1 --config {tmp_path}/din-x.toml "
        f"--out {tmp_path}/din-x-1 --resume"
    )
    assert options["env"]["OMP_NUM_THREADS"] == "3"
    assert TrainConfig.read(run.config_file) == CONFIG
    assert options["stderr"] == subprocess.STDOUT
    assert run.log.read_text(encoding="utf-8").count("$ python -m training train") == 2
