"""Download MovieLens-100K from a package that contains it, through the user's own pip settings."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from dinrank.model.bundle.staging import scratch_directory
from dinrank.training.errors import DatasetError
from dinrank.training.prepare.dataset_directory import staged_directory

MOVIELENS_100K_NOTICE = """\
MovieLens-100K: 100,000 ratings of 1,682 films by 943 people, collected by the GroupLens Research Project
at the University of Minnesota from September 1997 to April 1998.
It is GroupLens' data, for research use; it may not be redistributed, nor used commercially, without permission.
Cite: F. Maxwell Harper and Joseph A. Konstan, 2015, The MovieLens Datasets: History and Context,
ACM Transactions on Interactive Intelligent Systems (TiiS) 5, 4, Article 19.
The files come from the recbole 1.2.1 package, whose authors converted them to text tables."""

RECBOLE = "recbole==1.2.1"
RECBOLE_WHEEL_SHA256 = "9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407"
_FOLDER = "recbole/dataset_example/ml-100k"
_FILES = ("ml-100k.inter", "ml-100k.item", "ml-100k.user")
_BY_HAND = "or fetch MovieLens-100K from grouplens.org yourself: prepare reads its u.data, u.item and u.user too"


def fetch_movielens_100k(out: Path, *, sha256: str = RECBOLE_WHEEL_SHA256) -> Path:
    """Put RecBole's three MovieLens-100K files into `out`; `prepare_movielens_100k` reads them there.

    Files from an earlier call are reused without a download. The wheel is only unpacked: nothing in it is
    installed or run. Show `MOVIELENS_100K_NOTICE` to the user.

    Args:
        sha256: of the wheel; anything else is refused.

    Returns:
        `out`.

    Raises:
        DatasetError: pip could not download the wheel, the wheel is not the expected one,
            or `out` holds something else.
    """
    if all((out / name).is_file() for name in _FILES):
        return out
    with scratch_directory("fetch") as temporary, staged_directory(out) as staging:
        wheel = _download_wheel(temporary)
        _require_checksum(wheel, sha256)
        _extract(wheel, staging)
    return out


def _download_wheel(directory: Path) -> Path:
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(directory), RECBOLE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = list(directory.glob("*.whl"))
    if result.returncode == 0 and len(wheels) == 1:
        return wheels[0]
    last_lines = " | ".join(result.stderr.strip().splitlines()[-3:]) or f"{len(wheels)} wheels"
    raise DatasetError(
        RECBOLE,
        expected="pip to download one wheel",
        found=f"exit code {result.returncode}: {last_lines}",
        advice=f"try `python {' '.join(command[1:-3])} {RECBOLE}` and fix pip's settings, {_BY_HAND}",
    )


def _require_checksum(wheel: Path, expected: str) -> None:
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != expected:
        advice = f"do not trust this download; check which package index pip asks, {_BY_HAND}"
        raise DatasetError(wheel.name, expected=f"sha256 {expected}", found=found, advice=advice)


def _extract(wheel: Path, directory: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in _FILES:
            try:
                packed = archive.open(f"{_FOLDER}/{name}")
            except KeyError as exc:
                raise DatasetError(wheel.name, expected=f"{_FOLDER}/{name} inside", found="no such file") from exc
            with packed, (directory / name).open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
