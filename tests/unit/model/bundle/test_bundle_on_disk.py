"""Writing a bundle and opening it again: every byte or nothing."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from dinrank.model.bundle.errors import BundleError, ChecksumMismatch, MissingFile, SchemaMismatch, UnsupportedFormat
from dinrank.model.bundle.manifest import MANIFEST_FILE
from dinrank.model.bundle.reader import open_bundle
from dinrank.model.bundle.titles import TITLE_FILES
from dinrank.model.bundle.vocabulary import Vocabulary
from dinrank.model.bundle.writer import write_bundle
from tests.fixtures.bundle import (
    SCHEMA,
    TITLES,
    VOCABULARIES,
    declare_as_genuine,
    golden_answers,
    listed_in,
    make_bundle,
    make_encoder,
    rewrite_manifest,
)

INDEX = ["buckets", "fingerprints", "positions", "starts", "words"]
FILES = [
    "golden.json",
    "items/genre.npy",
    *(f"items/ids/{array}.npy" for array in INDEX),
    "items/item_id.npy",
    "items/price.npy",
    "model.onnx",
    "schema.json",
    *sorted(TITLE_FILES),
    "vocabulary/age.json",
    *(f"vocabulary/{feature}/{array}.npy" for feature in ("gender", "genre", "hour", "interests") for array in INDEX),
    *(f"vocabulary/{feature}/{array}.npy" for feature in ("is_weekend", "item_id") for array in INDEX),
    "vocabulary/price.json",
]


@pytest.fixture
def own_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    """A copy that a test may damage."""
    return Path(shutil.copytree(bundle_path, tmp_path / "bundle"))


def flip(path: Path, position: int, bits: int = 0xFF) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= bits
    path.write_bytes(content)


def test_what_was_written_is_read(bundle_path: Path) -> None:
    bundle = open_bundle(bundle_path)
    assert bundle.schema == SCHEMA
    assert bundle.encoder.vocabularies == VOCABULARIES
    assert bundle.encoder.catalogue.item_ids == make_encoder().catalogue.item_ids
    for name, column in make_encoder().catalogue.columns.items():
        assert bundle.encoder.catalogue.columns[name].tolist() == column.tolist()
    assert list(bundle.golden) == golden_answers()
    assert bundle.manifest.model_name == "formula"
    assert bundle.manifest.calibration == {"method": "none"}


def test_titles_are_optional(bundle_path: Path, own_bundle: Path) -> None:
    titles = open_bundle(bundle_path).titles
    assert titles is not None
    assert [titles[position] for position in range(len(titles))] == list(TITLES.values())
    assert [open_bundle(bundle_path).title_of(item_id) for item_id in ("2", "5", "new")] == ["Swimming cap", "", ""]
    shutil.rmtree(own_bundle / "titles")
    rewrite_manifest(own_bundle, {name: sha for name, sha in listed_in(own_bundle).items() if name not in TITLE_FILES})
    untitled = open_bundle(own_bundle)
    assert (untitled.titles, untitled.title_of("1")) == (None, "")


def test_the_manifest_lists_every_file_but_itself(bundle_path: Path) -> None:
    assert sorted(open_bundle(bundle_path).manifest.files) == FILES
    on_disk = sorted(str(path.relative_to(bundle_path)) for path in bundle_path.rglob("*") if path.is_file())
    assert on_disk == sorted([*FILES, MANIFEST_FILE])


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_one_flipped_byte_in_the_bundle_is_refused(own_bundle: Path, name: str, place: float) -> None:
    path = own_bundle / name
    flip(path, round(place * (path.stat().st_size - 1)), bits=0x01)
    with pytest.raises(ChecksumMismatch, match=f"{name}: expected sha256"):
        open_bundle(own_bundle)


def test_one_flipped_bit_anywhere_in_the_manifest_is_refused(own_bundle: Path) -> None:
    path = own_bundle / MANIFEST_FILE
    intact = path.read_bytes()
    for position in range(len(intact)):
        flip(path, position, bits=0x01)
        with pytest.raises(BundleError, match=MANIFEST_FILE):
            open_bundle(own_bundle)
        path.write_bytes(intact)


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_missing_file_is_refused_with_its_name(own_bundle: Path, name: str) -> None:
    (own_bundle / name).unlink()
    with pytest.raises(MissingFile, match=name):
        open_bundle(own_bundle)


@pytest.mark.parametrize("name", [*FILES, MANIFEST_FILE])
def test_a_file_cut_short_is_refused_with_its_name(own_bundle: Path, name: str) -> None:
    content = (own_bundle / name).read_bytes()
    (own_bundle / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BundleError, match=name):
        open_bundle(own_bundle)


def test_a_directory_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=MANIFEST_FILE):
        open_bundle(tmp_path)


def test_a_path_that_leaves_the_bundle_is_refused(own_bundle: Path) -> None:
    files = dict(open_bundle(own_bundle).manifest.files)
    rewrite_manifest(own_bundle, {**files, "../outside": "00" * 32})
    with pytest.raises(UnsupportedFormat, match=r"paths inside the bundle, found '\.\./outside'"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    "name",
    [
        "schema.json",
        "model.onnx",
        "golden.json",
        "items/ids/words.npy",
        "items/price.npy",
        "vocabulary/genre/starts.npy",
        "vocabulary/price.json",
        "titles/text.npy",
    ],
)
def test_a_manifest_without_a_needed_file_is_refused(own_bundle: Path, name: str) -> None:
    files = dict(open_bundle(own_bundle).manifest.files)
    del files[name]
    rewrite_manifest(own_bundle, files)
    with pytest.raises(MissingFile, match=f"an entry for {name}"):
        open_bundle(own_bundle)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("items/ids/starts.npy", np.arange(7, dtype=np.uint32)[::-1].copy(), "expected numbers from 0 to 6"),
        ("items/ids/positions.npy", np.arange(1, 7, dtype=np.uint32), "expected none beyond 5, found 6"),
        ("items/ids/words.npy", np.zeros((6, 2)), r"expected uint64 in one dimension, found float64 \(6, 2\)"),
        ("vocabulary/genre/buckets.npy", np.array([0, 3, 3], dtype=np.int64), "expected uint32 in one dimension"),
        ("vocabulary/genre/fingerprints.npy", np.zeros(9, dtype=np.uint8), "expected 3, one per token, found 9"),
        ("vocabulary/genre/words.npy", np.full(3, 0xFEFEFEFEFEFEFEFE, dtype=np.uint64), "expected tokens in UTF-8"),
        ("items/price.npy", np.zeros(5, dtype=np.int32), "price has 5 rows, the catalogue 8"),
        ("items/price.npy", np.array(0, dtype=np.int32), "price has no rows, the catalogue 8"),
        ("items/price.npy", np.full(8, -1, dtype=np.int32), "expected indices from 0 to 4, found from -1 to -1"),
        ("items/price.npy", np.arange(8, dtype=np.int32), "expected indices from 0 to 4, found from 0 to 7"),
        ("items/price.npy", np.full(8, np.nan), r"expected int32 \(8,\), found float64 \(8,\)"),
        ("items/price.npy", np.array([{}] * 8), "expected a .npy array, found .*Python objects"),
        ("titles/text.npy", np.zeros(7, dtype=np.uint8), "expected a line per title, found starts must rise"),
        ("titles/starts.npy", np.array([0, 3], dtype=np.int64), "expected a line per title, found starts must rise"),
    ],
)
def test_arrays_that_do_not_fit_are_refused_even_if_somebody_signed_them(
    own_bundle: Path, name: str, array: np.ndarray, message: str
) -> None:
    np.save(own_bundle / name, array)
    declare_as_genuine(own_bundle, name)
    with pytest.raises((SchemaMismatch, UnsupportedFormat), match=message):
        open_bundle(own_bundle)


@pytest.mark.parametrize("content", [b"", b"[]", b"PK\x03\x04", b"\x93NUMPY\x01\x00"])
def test_a_file_that_is_no_array_is_refused_even_if_somebody_signed_it(own_bundle: Path, content: bytes) -> None:
    (own_bundle / "items/ids/words.npy").write_bytes(content)
    declare_as_genuine(own_bundle, "items/ids/words.npy")
    with pytest.raises(UnsupportedFormat, match=r"items/ids/words.npy: expected a .npy array"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("name", ["model.onnx.data", "other.data", ".hidden", "items/other.npy", "new/file"])
def test_files_that_the_manifest_does_not_list_are_refused(own_bundle: Path, name: str) -> None:
    """A graph may say that its tables lie in any of them: ONNX Runtime would read it, and nobody has verified it."""
    (own_bundle / name).parent.mkdir(exist_ok=True)
    (own_bundle / name).write_bytes(b"")
    with pytest.raises(MissingFile, match=f"an entry for {name}, found none"):
        open_bundle(own_bundle)


def test_links_that_the_manifest_does_not_list_are_refused(own_bundle: Path, tmp_path: Path) -> None:
    (own_bundle / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(MissingFile, match="an entry for link"):
        open_bundle(own_bundle)


def test_what_is_large_in_a_bundle_is_mapped_and_not_read(bundle_path: Path) -> None:
    encoder = open_bundle(bundle_path).encoder
    genre = encoder.vocabularies["genre"]
    assert isinstance(genre, Vocabulary)
    arrays = [*genre.tokens.arrays().values(), *encoder.catalogue.item_ids.arrays().values()]
    arrays += encoder.catalogue.columns.values()
    assert all(isinstance(array.base, np.memmap) for array in arrays)
    assert not any(array.flags.writeable for array in arrays)


def test_a_bundle_without_golden_answers_is_refused(tmp_path: Path) -> None:
    make_bundle(tmp_path / "bundle", golden=[])
    with pytest.raises(SchemaMismatch, match=r"golden.json: expected at least one request"):
        open_bundle(tmp_path / "bundle")


def test_an_existing_directory_is_never_overwritten(own_bundle: Path) -> None:
    before = {path: path.read_bytes() for path in own_bundle.rglob("*") if path.is_file()}
    with pytest.raises(FileExistsError, match="never overwritten"):
        make_bundle(own_bundle)
    assert {path: path.read_bytes() for path in own_bundle.rglob("*") if path.is_file()} == before


def test_a_bundle_that_cannot_be_finished_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_bundle(
            tmp_path / "bundles" / "bundle",
            model_name="formula",
            encoder=make_encoder(),
            graph_files=[tmp_path / "model.onnx"],
            golden=golden_answers(),
            training={},
            metrics={},
            calibration={},
        )
    assert list((tmp_path / "bundles").iterdir()) == []


def test_metrics_that_are_no_numbers_are_refused_rather_than_written(tmp_path: Path) -> None:
    graph = tmp_path / "model.onnx"
    graph.write_bytes(b"")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_bundle(
            tmp_path / "out" / "bundle",
            model_name="formula",
            encoder=make_encoder(),
            graph_files=[graph],
            golden=golden_answers(),
            training={},
            metrics={"valid": {"auc": float("nan")}},
            calibration={},
        )
    assert list((tmp_path / "out").iterdir()) == []


def test_one_content_gives_one_version(bundle_path: Path, tmp_path: Path) -> None:
    again = open_bundle(make_bundle(tmp_path / "again"))
    assert again.manifest.model_version == open_bundle(bundle_path).manifest.model_version


@pytest.mark.parametrize("version", [1, 3, "2", None])
def test_another_format_version_is_refused(own_bundle: Path, version: object) -> None:
    path = own_bundle / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(UnsupportedFormat, match=f"{MANIFEST_FILE}: expected format version 2, found {version}"):
        open_bundle(own_bundle)


@pytest.mark.parametrize("number", ["NaN", "1e999"])
def test_a_manifest_with_a_number_that_json_lacks_is_refused(own_bundle: Path, number: str) -> None:
    path = own_bundle / MANIFEST_FILE
    path.write_text(path.read_text().replace("0.75", number))
    with pytest.raises(UnsupportedFormat, match=f"{MANIFEST_FILE}: expected finite numbers"):
        open_bundle(own_bundle)


def test_a_path_that_leads_through_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MissingFile, match=r"manifest.json: expected a file that can be read, found Not a directory"):
        open_bundle(tmp_path / "file")
