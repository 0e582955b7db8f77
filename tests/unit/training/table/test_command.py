"""Tables as a user makes them: with the training, and of a bundle."""

import dataclasses
import io
import json
import re
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from dinrank.model.bundle.activations import COVERAGE_FILE, TABLE_FILES, WEIGHTS_FILE
from dinrank.model.bundle.errors import ChecksumMismatch, MissingFile, SchemaMismatch
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.request import ScoringRequest, encode_request
from dinrank.model.nets.config import NetworkConfig
from dinrank.model.nets.names import NetworkName
from dinrank.service.scoring.predictor import Predictor
from dinrank.training import __main__ as command_line
from dinrank.training.config import TrainConfig
from dinrank.training.errors import TableError
from dinrank.training.run import RunOptions, run
from dinrank.training.table.command import TableOptions, add_table
from tests.fixtures.bundle import declare_as_genuine, rewrite_manifest

CONFIG = TrainConfig(
    epochs=1, batch_size=64, network=NetworkConfig(embedding_dim=4, embedding_std=0.1, tower=(8,), unit=(6,))
)
SOME = TableOptions(memory_bytes=4 * 8 * 9)


def quiet() -> Console:
    return Console(file=io.StringIO(), width=200)


@pytest.fixture(scope="module")
def plain(dataset_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "din"
    run(RunOptions(data=dataset_path, model=NetworkName.DIN, out=out, seed=0, config=CONFIG), quiet())
    return out


@pytest.fixture(scope="module")
def extended(plain: Path, dataset_path: Path) -> Path:
    out = plain.with_name("din-table")
    add_table(plain, dataset_path, out, SOME, quiet())
    return out


def test_a_bundle_with_a_table_answers_as_the_one_without(plain: Path, extended: Path) -> None:
    """Ads and items within the table and without, known and not, with attributes of their own; no history at all."""
    without, with_table = open_bundle(plain), open_bundle(extended)
    item_ids = [*without.encoder.catalogue.item_ids, "never seen"]
    rng = np.random.default_rng(0)
    looked_up = 0
    for num_behaviours in (0, 1, 5):
        request = ScoringRequest(
            candidates=[*rng.permutation(item_ids), *item_ids[:3]],
            behaviours=rng.choice(item_ids, num_behaviours).tolist(),
            profile={},
            context={},
            candidate_attributes={2: {"category": "shoes"}, 3: {"price": 4.0}},
            behaviour_attributes={0: {"category": "books"}} if num_behaviours else {},
        )
        first, second = (
            Predictor.load(bundle).predict(encode_request(bundle.encoder, request), with_weights=True)
            for bundle in (without, with_table)
        )
        np.testing.assert_allclose(second.ctr_C, first.ctr_C, rtol=0, atol=1e-6)
        assert first.weights_CT is not None and second.weights_CT is not None
        np.testing.assert_allclose(second.weights_CT, first.weights_CT, rtol=1e-5, atol=1e-6)
        assert first.num_looked_up == 0
        assert second.num_pairs == first.num_pairs == len(request.candidates) * num_behaviours
        looked_up += second.num_looked_up
    assert looked_up > 0


def test_a_training_makes_the_same_table(extended: Path, dataset_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "din"
    options = RunOptions(data=dataset_path, model=NetworkName.DIN, out=out, seed=0, config=CONFIG, table=SOME)
    run(options, quiet())
    assert open_bundle(out).manifest.files == open_bundle(extended).manifest.files


def test_the_table_is_within_its_memory_and_says_what_it_covers(extended: Path) -> None:
    table = open_bundle(extended).table
    assert table is not None
    coverage = json.loads((extended / COVERAGE_FILE).read_text(encoding="utf-8"))
    assert coverage["bytes"] == table.weights_AB.nbytes == 4 * coverage["ads"] * coverage["items"] <= SOME.memory_bytes
    assert 0.0 < coverage["training_behaviours_covered"] <= 1.0


def test_a_bundle_with_a_table_is_another_bundle(plain: Path, extended: Path) -> None:
    before, after = open_bundle(plain).manifest, open_bundle(extended).manifest
    assert after.model_version != before.model_version
    assert {name: after.files[name] for name in before.files} == before.files
    assert set(after.files) - set(before.files) == set(TABLE_FILES)
    assert dataclasses.replace(after, files=before.files, model_version=before.model_version) == before


def test_a_table_of_a_table_is_refused(extended: Path, dataset_path: Path, tmp_path: Path) -> None:
    with pytest.raises(TableError, match="has an activation table already"):
        add_table(extended, dataset_path, tmp_path / "out", SOME, quiet())


def test_networks_without_a_use_for_it_are_refused_before_they_are_trained(dataset_path: Path, tmp_path: Path) -> None:
    options = RunOptions(
        data=dataset_path, model=NetworkName.BASE, out=tmp_path / "base", seed=0, config=CONFIG, table=SOME
    )
    with pytest.raises(TableError, match="an activation table is for din"):
        run(options, quiet())
    assert list(tmp_path.iterdir()) == []


def test_active_ads_are_read_from_a_file(plain: Path, dataset_path: Path, tmp_path: Path) -> None:
    item_ids = list(open_bundle(plain).encoder.catalogue.item_ids)
    file = tmp_path / "ads.txt"
    file.write_text("\n".join([item_ids[4], item_ids[1], "new"]) + "\n", encoding="utf-8")
    console = quiet()
    add_table(plain, dataset_path, tmp_path / "out", TableOptions(4 * 3 * 5, ads=file), console)
    table = open_bundle(tmp_path / "out").table
    assert table is not None
    assert table.weights_AB.shape == (3, 5)  # with the unknown ad
    assert np.flatnonzero(table.line_R >= 0).tolist() == [1, 3, 6]
    assert isinstance(console.file, io.StringIO)
    assert "1 of 3 ads" in console.file.getvalue()


@contextmanager
def small_disk(num_bytes: int) -> Iterator[None]:
    """No file grows beyond so many bytes: the system refuses as it does on a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("num_bytes", [100, 600])
def test_a_full_disk_ends_the_command_with_what_to_do_and_leaves_no_bundle(
    plain: Path,
    dataset_path: Path,
    tmp_path: Path,
    num_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """While the table is computed, and while the bundle is written."""
    arguments = ["--bundle", plain, "--data", dataset_path, "--out", tmp_path / "out", "--memory", "300B"]
    monkeypatch.setattr(sys, "argv", ["training", "table", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended, small_disk(num_bytes):
        command_line.main()
    assert ended.value.code == 1
    [line] = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"error: no room on a disk: .*Make room where the output lies.*", line)
    assert list(tmp_path.iterdir()) == []


def test_ads_of_another_data_set_are_refused(plain: Path, dataset_path: Path, tmp_path: Path) -> None:
    file = tmp_path / "ads.txt"
    file.write_text("nobody\nknows\n", encoding="utf-8")
    with pytest.raises(TableError, match="names 2 ads and the bundle knows none"):
        add_table(plain, dataset_path, tmp_path / "out", TableOptions(1000, ads=file), quiet())
    with pytest.raises(TableError, match="cannot be read as text"):
        add_table(plain, dataset_path, tmp_path / "out", TableOptions(1000, ads=tmp_path / "none"), quiet())


@pytest.fixture()
def copy(extended: Path, tmp_path: Path) -> Path:
    out = tmp_path / "copy"
    for file in open_bundle(extended).manifest.files:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (out / file).write_bytes((extended / file).read_bytes())
    (out / "manifest.json").write_bytes((extended / "manifest.json").read_bytes())
    return out


def test_a_flipped_bit_of_a_weight_is_refused(copy: Path) -> None:
    content = bytearray((copy / WEIGHTS_FILE).read_bytes())
    content[-1] ^= 1
    (copy / WEIGHTS_FILE).write_bytes(bytes(content))
    with pytest.raises(ChecksumMismatch, match=r"activations/weights.npy: expected sha256"):
        open_bundle(copy)


def test_half_a_table_is_refused(copy: Path) -> None:
    files = dict(open_bundle(copy).manifest.files)
    del files[WEIGHTS_FILE]
    (copy / WEIGHTS_FILE).unlink()
    rewrite_manifest(copy, files)
    with pytest.raises(MissingFile, match=r"an entry for activations/weights.npy, as for its fellows"):
        open_bundle(copy)


def test_a_table_of_another_size_is_refused(copy: Path) -> None:
    np.save(copy / WEIGHTS_FILE, np.zeros((2, 2), dtype=np.float32))
    declare_as_genuine(copy, WEIGHTS_FILE)
    with pytest.raises(SchemaMismatch, match="lines must name each of the table's 2 once"):
        open_bundle(copy)
