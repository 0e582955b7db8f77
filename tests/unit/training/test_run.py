"""Whole runs on the invented dataset: dataset directory in, bundle and report out."""

import dataclasses
import io
import json
import math
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from rich.console import Console

from dinrank.model.bundle.graph import CTR_OUTPUT
from dinrank.model.bundle.reader import Bundle, open_bundle
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.nets.names import NetworkName
from dinrank.training import __main__ as command_line
from dinrank.training import run
from dinrank.training.config import TrainConfig
from dinrank.training.data.dataset import Dataset
from dinrank.training.data.encoded import EncodedDataset
from dinrank.training.errors import CheckpointError, OutputTaken, TableError
from dinrank.training.measure import measurement, predict
from dinrank.training.measure.metrics import all_metrics
from dinrank.training.output.exclusive import sole_writer
from dinrank.training.requests import RequestBuilder
from dinrank.training.table.command import TableOptions
from tests.fixtures.dataset import CATEGORIES, SCHEMA_TOML, write_dataset_directory
from tests.fixtures.signing import KeyPair
from tests.fixtures.training import run_training, training_from

pytestmark = pytest.mark.usefixtures("quick_exporter")

SEED = 3
CONFIG = """
epochs = 9
batch_size = 64
learning_rate = 0.02
embedding_learning_rate = 0.02
average_every = 1

[network]
embedding_dim = 4
embedding_std = 0.1
tower = [16]
unit = [8]
"""


@pytest.fixture(scope="module")
def config_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("config") / "train.toml"
    file.write_text(CONFIG, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def finished(
    dataset_path: Path, config_file: Path, own_keys: KeyPair, tmp_path_factory: pytest.TempPathFactory
) -> subprocess.CompletedProcess[str]:
    """The command as a user runs it, who signs the bundle. `args[-1]` is the bundle."""
    out = tmp_path_factory.mktemp("bundles") / "din"
    options = ["--data", dataset_path, "--model", "din", "--seed", SEED, "--config", config_file]
    return run_training("train", *options, "--epochs", "2", "--sign", own_keys.private, "--out", out)


@pytest.fixture(scope="module")
def bundle_path(finished: subprocess.CompletedProcess[str]) -> Path:
    return Path(finished.args[-1])


@pytest.fixture(scope="module")
def bundle(bundle_path: Path) -> Bundle:
    return open_bundle(bundle_path)


@pytest.fixture(scope="module")
def report(bundle_path: Path) -> dict[str, Any]:
    text = bundle_path.with_name("din.report.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)  # NaN is no JSON
    return document


@pytest.fixture(scope="module")
def session(bundle: Bundle) -> ort.InferenceSession:
    return ort.InferenceSession(bundle.graph_path, providers=["CPUExecutionProvider"])


def served(bundle: Bundle, session: ort.InferenceSession, request: ScoringRequest) -> np.ndarray:
    ctr_C: np.ndarray = session.run([CTR_OUTPUT], encode_request(bundle.encoder, request).inputs)[0]
    return ctr_C


def test_the_bundle_and_its_report_are_all_that_is_left(bundle_path: Path) -> None:
    assert {path.name for path in bundle_path.parent.iterdir()} == {"din", "din.report.html", "din.report.json"}


def test_the_screen_shows_data_progress_and_result(
    finished: subprocess.CompletedProcess[str], report: dict[str, Any]
) -> None:
    text = " ".join(finished.stdout.split())
    assert "invented: 464 train, 58 valid, 60 test impressions; split by time, 80/10/10" in text
    assert [f"epoch {epoch:.2f} train loss" in text for epoch in (0.5, 1.0, 1.5, 2.0)] == [True] * 4
    assert f"valid GAUC {report['valid']['gauc']:.4f}" in text
    assert f"{report['before_calibration']['test']['log_loss']:.4f}" in text
    assert f"{report['test']['log_loss']:.4f}" in text
    assert report["model_version"] in text
    assert finished.stderr == ""


def test_the_bundle_says_where_it_comes_from(bundle: Bundle) -> None:
    manifest = bundle.manifest
    assert manifest.model_name == "din"
    assert manifest.calibration.keys() == {"method", "slope", "intercept", "negative_sampling_rate"}
    assert manifest.calibration["method"] == "platt"
    assert manifest.calibration["negative_sampling_rate"] == 1.0
    assert manifest.training["dataset"] == {
        "name": "invented",
        "source": "tests/fixtures/dataset.py",
        "split": "by time, 80/10/10",
    }
    assert manifest.training["seed"] == SEED
    assert manifest.training["config"]["epochs"] == 2  # the option, not the file's 9
    assert manifest.training["config"]["network"]["tower"] == [16]
    assert {"python", "torch", "onnx", "onnxruntime", "numpy"} <= manifest.training["versions"].keys()


def test_the_bundle_knows_what_the_trainer_knew(bundle: Bundle, encoded_dataset: EncodedDataset) -> None:
    assert bundle.schema == encoded_dataset.encoder.schema
    assert bundle.encoder.vocabularies == encoded_dataset.encoder.vocabularies
    assert bundle.encoder.catalogue.item_ids == encoded_dataset.encoder.catalogue.item_ids


def test_the_bundle_has_the_items_titles(bundle: Bundle) -> None:
    assert bundle.titles is not None
    item_ids = bundle.encoder.catalogue.item_ids
    by_id = {item_ids[position]: bundle.titles[position] for position in range(len(item_ids))}
    assert by_id["i4"] == f"The {CATEGORIES[1]} of 4"
    assert by_id["latecomer"] == "Late"
    assert (by_id["i7"], by_id["unlisted"]) == ("", "")  # without one, and not in items.parquet at all


def test_onnx_runtime_reproduces_the_golden_answers(bundle: Bundle, session: ort.InferenceSession) -> None:
    assert len(bundle.golden) == run.NUM_GOLDEN
    for answer in bundle.golden:
        assert len(answer.ctr) == 1 + run.GOLDEN_CANDIDATES + 1
        np.testing.assert_allclose(served(bundle, session, answer.request), answer.ctr, rtol=0, atol=1e-5)


def test_golden_requests_cover_short_and_long_histories_and_unknown_items(bundle: Bundle) -> None:
    lengths = {len(answer.request.behaviours) for answer in bundle.golden}
    assert {0, bundle.schema.max_behaviours} <= lengths
    assert all("no such item" in answer.request.candidates for answer in bundle.golden)
    assert len({tuple(answer.ctr) for answer in bundle.golden}) > 1


def test_the_report_holds_what_was_measured_and_how(report: dict[str, Any], bundle: Bundle) -> None:
    assert report["model"] == "din"
    assert report["model_version"] == bundle.manifest.model_version
    assert report["epochs"] == 2.0
    assert report["seed"] == SEED
    assert report["versions"] == bundle.manifest.training["versions"]
    assert len(report["evaluations"]) == 4
    best = max(report["evaluations"], key=lambda evaluation: evaluation["valid"]["gauc"])
    assert report["best_epoch"] == best["epoch"]
    assert report["before_calibration"]["valid"] == best["valid"]
    assert report["calibration"] == {**bundle.manifest.calibration, "warning": ""}
    assert report["samples_per_second"] == pytest.approx(2 * 464 / report["seconds"])
    for split in ("valid", "test"):
        names = {"auc", "gauc", "log_loss", "calibration", "expected_calibration_error"}
        assert report[split].keys() == report["before_calibration"][split].keys() == names
        assert bundle.manifest.metrics[split] == report[split]


@pytest.mark.parametrize("split", ["valid", "test"])
def test_serving_the_logged_requests_gives_the_reported_metrics(
    split: str,
    bundle: Bundle,
    session: ort.InferenceSession,
    report: dict[str, Any],
    dataset: Dataset,
    encoded_dataset: EncodedDataset,
) -> None:
    """From raw requests through the bundle's own encoder and graph, one impression at a time."""
    rows = encoded_dataset.split_rows[split]
    builder = RequestBuilder(dataset, encoded_dataset)
    ctr_N = np.array([served(bundle, session, builder.request(int(row)))[0] for row in rows])
    clicked_N = np.array(dataset.impressions["clicked"].to_list())[rows]
    found = all_metrics(np.array(dataset.impressions["user_id"].to_list())[rows], clicked_N, ctr_N)
    assert found["log_loss"] == pytest.approx(report[split]["log_loss"], abs=1e-5)
    assert found["calibration"] == pytest.approx(report[split]["calibration"], abs=1e-4)
    # Two CTRs that are equal up to rounding may change places.
    assert found["auc"] == pytest.approx(report[split]["auc"], abs=0.01)
    assert found["gauc"] == pytest.approx(report[split]["gauc"], abs=0.05)


def test_a_second_run_gives_the_same_version_and_predicts_test_once(
    dataset_path: Path,
    config_file: Path,
    encoded_dataset: EncodedDataset,
    report: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    predicted: list[tuple[int, ...]] = []
    real_predict = predict.predict_logits

    def recorded(network: Any, data: EncodedDataset, impressions: np.ndarray) -> Any:
        predicted.append(tuple(impressions.tolist()))
        return real_predict(network, data, impressions)

    for module in (predict, measurement):
        monkeypatch.setattr(module, "predict_logits", recorded)
    config = dataclasses.replace(TrainConfig.read(config_file), epochs=2)
    options = run.RunOptions(data=dataset_path, model=NetworkName.DIN, out=tmp_path / "din", seed=SEED, config=config)
    second = run.run(options, Console(file=io.StringIO()))
    assert second["model_version"] == report["model_version"]
    assert second["test"] == report["test"]
    assert json.loads(json.dumps(second["diagnostics"])) == report["diagnostics"]
    test_rows = set(encoded_dataset.split_rows["test"].tolist())
    reads_of_test = [rows for rows in predicted if test_rows & set(rows)]
    assert [set(rows) for rows in reads_of_test] == [test_rows]
    assert predicted[-1] == reads_of_test[0]  # when every choice is made


def test_two_equal_runs_give_one_page_byte_for_byte(
    dataset_path: Path, config_file: Path, bundle_path: Path, tmp_path: Path
) -> None:
    """The first in a process of its own, under another name."""
    config = dataclasses.replace(TrainConfig.read(config_file), epochs=2)
    options = run.RunOptions(data=dataset_path, model=NetworkName.DIN, out=tmp_path / "b", seed=SEED, config=config)
    run.run(options, Console(file=io.StringIO()))
    first = bundle_path.with_name("din.report.html").read_bytes()
    assert (tmp_path / "b.report.html").read_bytes() == first


def test_down_sampled_rows_are_reported_as_they_are_and_served_corrected(
    config_file: Path, bundle: Bundle, report: dict[str, Any], tmp_path: Path
) -> None:
    """The same run, but for the share of kept negatives in schema.toml."""
    schema = SCHEMA_TOML.replace("[dataset]", "[dataset]\nnegative_sampling_rate = 0.1")
    config = dataclasses.replace(TrainConfig.read(config_file), epochs=2)
    options = run.RunOptions(
        data=write_dataset_directory(tmp_path / "data", schema=schema),
        model=NetworkName.DIN,
        out=tmp_path / "din",
        seed=SEED,
        config=config,
    )
    screen = io.StringIO()
    found = run.run(options, Console(file=screen))
    assert {split: found[split] for split in ("valid", "test")} == {split: report[split] for split in ("valid", "test")}
    assert "negative_sampling_rate" in screen.getvalue()
    corrected = open_bundle(tmp_path / "din")
    assert corrected.manifest.calibration == {**bundle.manifest.calibration, "negative_sampling_rate": 0.1}
    for answer, plain in zip(corrected.golden, bundle.golden, strict=True):
        p = np.array(plain.ctr)
        np.testing.assert_allclose(answer.ctr, p / (p + (1 - p) / 0.1), rtol=1e-5)


def test_a_bundle_is_signed_before_it_appears(bundle_path: Path, own_keys: KeyPair) -> None:
    public_key = load_pem_public_key(own_keys.public.read_bytes())
    assert isinstance(public_key, Ed25519PublicKey)
    public_key.verify((bundle_path / "manifest.sig").read_bytes(), (bundle_path / "manifest.json").read_bytes())


def test_a_key_that_cannot_sign_is_refused_before_the_training(
    own_keys: KeyPair, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--data", tmp_path / "no dataset", "--out", tmp_path / "out", "--sign", own_keys.public)
    assert "is no private key in PEM" in refusal(capsys, monkeypatch, *options)


def refusal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> str:
    """What the command line says on refusing `arguments`."""
    monkeypatch.setattr(sys, "argv", ["training", "train", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        command_line.main()
    assert stopped.value.code == 1
    return " ".join(capsys.readouterr().err.split())


def test_an_existing_bundle_is_refused_before_anything_else(
    bundle_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path: path.stat().st_mtime_ns for path in bundle_path.rglob("*")}
    (tmp_path / "schema.toml").write_text(SCHEMA_TOML, encoding="utf-8")  # and nothing else of a dataset
    message = refusal(capsys, monkeypatch, "--data", tmp_path, "--out", bundle_path)
    assert message.startswith(f"error: {bundle_path} exists; a bundle is never overwritten: choose another --out")
    assert {path: path.stat().st_mtime_ns for path in bundle_path.rglob("*")} == before


def test_a_missing_dataset_and_a_bad_config_are_one_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "bundle"
    (tmp_path / "clicks.csv").write_text("user_id,item_id\n")
    for data in ("nothing", "clicks.csv"):
        message = refusal(capsys, monkeypatch, "--data", tmp_path / data, "--out", out)
        assert message.startswith(
            f"error: {tmp_path}/{data}/schema.toml: expected a dataset's schema.toml, found no file; "
        )
        assert "`prepare logs` makes a dataset of CSV" in message
    (tmp_path / "schema.toml").write_text(SCHEMA_TOML, encoding="utf-8")
    (tmp_path / "train.toml").write_text("epoch = 3")
    message = refusal(capsys, monkeypatch, "--data", tmp_path, "--out", out, "--config", tmp_path / "train.toml")
    assert message.startswith(f"error: {tmp_path}/train.toml: unknown key 'epoch'; known are epochs")
    assert not out.exists()


def test_a_process_killed_in_training_is_resumed_to_the_same_version(
    dataset_path: Path, config_file: Path, report: dict[str, Any], tmp_path: Path
) -> None:
    """With SIGKILL, as soon as there is a checkpoint. The report is of a run that nobody killed."""
    out = tmp_path / "din"
    checkpoint = tmp_path / "din.checkpoint"
    options = ["--data", dataset_path, "--model", "din", "--seed", SEED, "--config", config_file, "--epochs", "2"]
    # The first look, after which there is a checkpoint.
    with training_from(".*epoch", "train", *options, "--out", out, "--resume") as process:
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    config = dataclasses.replace(TrainConfig.read(config_file), epochs=2)
    killed = run.RunOptions(data=dataset_path, model=NetworkName.DIN, out=out, seed=SEED, config=config)
    with pytest.raises(CheckpointError, match=rf"{checkpoint} exists, .*: go on from it with --resume, or delete it"):
        run.run(killed, Console(file=io.StringIO()))
    with pytest.raises(CheckpointError, match=r"another run: seed was 3 and is 4\. Train with what it was begun with"):
        run.run(dataclasses.replace(killed, seed=4, resume=True), Console(file=io.StringIO()))
    screen = io.StringIO()
    resumed = run.run(dataclasses.replace(killed, resume=True), Console(file=screen, width=500))
    assert f"going on from {checkpoint}" in screen.getvalue()
    assert resumed["model_version"] == report["model_version"]
    assert list(resumed["evaluations"]) == report["evaluations"]
    assert {path.name for path in tmp_path.iterdir()} == {"din", "din.report.html", "din.report.json"}


def options_of(bundle_path: Path, dataset_path: Path, config_file: Path) -> run.RunOptions:
    """The finished run's, once more."""
    config = dataclasses.replace(TrainConfig.read(config_file), epochs=2)
    return run.RunOptions(
        data=dataset_path, model=NetworkName.DIN, out=bundle_path, seed=SEED, config=config, resume=True
    )


def test_a_finished_run_started_again_with_resume_ends_well_and_changes_nothing(
    dataset_path: Path, config_file: Path, bundle_path: Path, report: dict[str, Any]
) -> None:
    """As a job does that is started again because nobody saw its end."""
    before = {path: path.stat().st_mtime_ns for path in bundle_path.parent.rglob("*")}
    screen = io.StringIO()
    options = options_of(bundle_path, dataset_path, config_file)
    assert run.run(options, Console(file=screen)) == report
    assert "nothing is left to do" in screen.getvalue()
    assert {path: path.stat().st_mtime_ns for path in bundle_path.parent.rglob("*")} == before
    with pytest.raises(FileExistsError, match=r"is of another run: seed was 3 and is 4\. A bundle is never"):
        run.run(dataclasses.replace(options, seed=4), Console(file=io.StringIO()))
    table = TableOptions(memory_bytes=1000)
    with pytest.raises(FileExistsError, match=r"is of another run: table was False and is True"):
        run.run(dataclasses.replace(options, table=table), Console(file=io.StringIO()))


def test_a_finished_training_survives_what_fails_behind_it_and_may_be_exported_by_other_code(
    dataset_path: Path, config_file: Path, report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table that is too small for its ads is noticed when all is trained; then with a commit that nobody knows."""
    ads = tmp_path / "ads.txt"
    ads.write_text("i1\ni2\ni3\n", encoding="utf-8")
    options = options_of(tmp_path / "din", dataset_path, config_file)
    too_small = dataclasses.replace(options, table=TableOptions(memory_bytes=4, ads=ads))
    with pytest.raises(TableError) as failed:
        run.run(too_small, Console(file=io.StringIO()))
    [note] = failed.value.__notes__
    assert note.startswith(f"The training is finished and kept in {tmp_path}/din.checkpoint: ")
    assert "with --resume goes on from there" in note
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ads.txt", "din.checkpoint"]
    kept = (tmp_path / "din.checkpoint").read_bytes()
    monkeypatch.setattr(run, "source_commit", lambda: "another")
    found = run.run(options, Console(file=io.StringIO()))
    assert found["commit"] == report["commit"]
    assert found["exported_with"]["commit"] == "another"
    for name in ("model_version", "test", "threads"):
        assert found[name] == report[name]
    # Killed behind its bundle, and reported by yet other code.
    (tmp_path / "din.checkpoint").write_bytes(kept)
    (tmp_path / "din.report.json").unlink()
    monkeypatch.setattr(run, "source_commit", lambda: "a third")
    assert json.loads(json.dumps(run.run(options, Console(file=io.StringIO())))) == json.loads(json.dumps(found))


def test_a_bundle_of_another_run_beside_a_checkpoint_is_not_reported_as_its_own(
    dataset_path: Path, config_file: Path, bundle_path: Path, tmp_path: Path
) -> None:
    options = options_of(tmp_path / "din", dataset_path, config_file)
    other = dataclasses.replace(options, seed=SEED + 1, table=TableOptions(memory_bytes=1))
    with pytest.raises(TableError):
        run.run(other, Console(file=io.StringIO()))
    shutil.copytree(bundle_path, tmp_path / "din")
    with pytest.raises(CheckpointError, match=r"din is of another run than .*checkpoint: training\.seed was 3 and"):
        run.run(dataclasses.replace(other, table=None), Console(file=io.StringIO()))
    assert {path.name for path in tmp_path.iterdir()} == {"din", "din.checkpoint"}


def test_two_trainings_never_write_to_one_place(dataset_path: Path, config_file: Path, tmp_path: Path) -> None:
    options = options_of(tmp_path / "din", dataset_path, config_file)
    with sole_writer(options.out), pytest.raises(OutputTaken, match="another process writes to .*/din: wait for its"):
        run.run(options, Console(file=io.StringIO()))
    assert list(tmp_path.iterdir()) == []


def test_metrics_of_the_report_are_numbers(report: dict[str, Any]) -> None:
    assert all(math.isfinite(number) for split in ("valid", "test") for number in report[split].values())
