"""pip runs for real, but its settings point it at a folder with a small wheel that the test built."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from dinrank.training.errors import DatasetError
from dinrank.training.prepare.download import MOVIELENS_100K_NOTICE, RECBOLE_WHEEL_SHA256, fetch_movielens_100k

NAMES = ["ml-100k.inter", "ml-100k.item", "ml-100k.user"]
FOLDER = "recbole/dataset_example/ml-100k"


def build_wheel(folder: Path, names: list[str]) -> str:
    """A wheel that pip accepts as recbole 1.2.1; returns its sha256."""
    dist_info = "recbole-1.2.1.dist-info"
    wheel = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in [*names, "ml-100k.kg"]:
            archive.writestr(f"{FOLDER}/{name}", f"content of {name}\n")
        archive.writestr(f"{dist_info}/METADATA", "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n")
        archive.writestr(f"{dist_info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{dist_info}/RECORD", "")
    return hashlib.sha256(wheel.read_bytes()).hexdigest()


@pytest.fixture
def wheels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is pip's only source of packages."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_a_fetch_puts_just_the_three_files_there(wheels: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(wheels, NAMES)
    assert fetch_movielens_100k(tmp_path / "raw", sha256=sha256) == tmp_path / "raw"
    contents = {path.name: path.read_text() for path in (tmp_path / "raw").iterdir()}
    assert contents == {name: f"content of {name}\n" for name in NAMES}


def test_a_second_fetch_needs_no_download(wheels: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for name in NAMES:
        (raw / name).write_text("from before")
    assert fetch_movielens_100k(raw) == raw  # there is no wheel to be had
    assert {path.read_text() for path in raw.iterdir()} == {"from before"}


def test_a_wheel_with_another_checksum_is_refused(wheels: Path, tmp_path: Path) -> None:
    found = build_wheel(wheels, NAMES)
    with pytest.raises(DatasetError, match=f"expected sha256 {RECBOLE_WHEEL_SHA256}, found {found}; do not trust"):
        fetch_movielens_100k(tmp_path / "raw")
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_a_wheel_without_the_files_is_refused(wheels: Path, tmp_path: Path) -> None:
    sha256 = build_wheel(wheels, NAMES[:2])
    with pytest.raises(DatasetError, match=f"expected {FOLDER}/ml-100k.user inside, found no such file"):
        fetch_movielens_100k(tmp_path / "raw", sha256=sha256)
    assert [path.name for path in tmp_path.iterdir()] == ["wheels"]


def test_a_failed_download_says_what_to_try(wheels: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"expected pip to download one wheel, found exit code 1: .*try `python -m"):
        fetch_movielens_100k(tmp_path / "raw")


def test_a_folder_with_something_else_is_refused_and_kept(wheels: Path, tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/ml-100k.inter").write_text("mine")
    with pytest.raises(DatasetError, match=r"raw: expected no directory or an empty one"):
        fetch_movielens_100k(tmp_path / "raw")
    assert (tmp_path / "raw/ml-100k.inter").read_text() == "mine"


def test_the_notice_names_owner_licence_and_paper() -> None:
    for text in ("GroupLens", "University of Minnesota", "Harper", "Konstan", "2015", "research use", "redistributed"):
        assert text in MOVIELENS_100K_NOTICE
