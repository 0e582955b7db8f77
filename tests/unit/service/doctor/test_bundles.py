import os
import time
from pathlib import Path

from dinrank.model.bundle.manifest import MANIFEST_FILE
from dinrank.service.doctor.bundles import check_bundle
from dinrank.service.doctor.report import Finding, Level
from dinrank.service.lineup.loading import BundleLoader
from tests.fixtures.bundle import golden_answers, make_bundle


def only(findings: list[Finding]) -> Finding:
    [finding] = findings
    return finding


def test_a_good_bundle_is_well_and_comes_back_for_the_other_checks(bundle_path: Path, loader: BundleLoader) -> None:
    findings, loaded = check_bundle(bundle_path, loader)
    assert [finding.level for finding in findings] == [Level.OK, Level.OK]
    assert "3 golden requests answered as in training" in findings[0].message
    assert loaded is not None and loaded.bundle.manifest.model_name == "formula"


def test_one_changed_byte_is_wrong_and_names_the_file(tmp_path: Path, loader: BundleLoader) -> None:
    path = make_bundle(tmp_path / "bundle")
    column = path / "items" / "genre.npy"
    content = bytearray(column.read_bytes())
    content[-1] ^= 1
    column.write_bytes(content)
    findings, loaded = check_bundle(path, loader)
    finding = only(findings)
    assert (finding.level, loaded) == (Level.WRONG, None)
    assert "items/genre.npy: expected sha256" in finding.message
    assert "copy the bundle again" in finding.remedy


def test_a_bundle_that_gives_other_answers_than_in_training_is_wrong(tmp_path: Path, loader: BundleLoader) -> None:
    finding = only(check_bundle(make_bundle(tmp_path / "bundle", golden=golden_answers(shift=0.1)), loader)[0])
    assert finding.level is Level.WRONG
    assert "of golden request" in finding.message
    assert "onnxruntime" in finding.remedy


def test_no_bundle_is_wrong_and_says_who_writes_one(tmp_path: Path, loader: BundleLoader) -> None:
    finding = only(check_bundle(tmp_path / "none", loader)[0])
    assert finding.level is Level.WRONG
    assert "python -m training train --out" in finding.remedy


def test_an_old_bundle_is_a_warning(tmp_path: Path, loader: BundleLoader) -> None:
    path = make_bundle(tmp_path / "bundle")
    then_s = time.time() - 40 * 86_400
    os.utime(path / MANIFEST_FILE, (then_s, then_s))
    _, age = check_bundle(path, loader)[0]
    assert (age.level, "written 40 days ago" in age.message) == (Level.WARNING, True)
