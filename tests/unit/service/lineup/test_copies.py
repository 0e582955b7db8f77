"""The service's own copies: what others do to a bundle's files changes nothing that is served."""

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dinrank.model.bundle.errors import ChecksumMismatch, MissingFile, SchemaMismatch, UnsupportedFormat
from dinrank.model.bundle.manifest import Manifest
from dinrank.model.bundle.reader import open_bundle
from dinrank.service.lineup import copies as bundle_copies
from dinrank.service.lineup.copies import BundleCopies, CannotCopyBundle, identity_of
from tests.fixtures.bundle import make_bundle


@pytest.fixture
def copies(tmp_path: Path) -> BundleCopies:
    return BundleCopies(tmp_path / "copies")


@pytest.fixture
def own(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "own"))


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "other", shift=0.7)


def contents(bundle: Path) -> dict[str, bytes]:
    return {str(path.relative_to(bundle)): path.read_bytes() for path in bundle.rglob("*") if path.is_file()}


def test_a_copy_has_the_same_bytes_in_files_of_its_own(copies: BundleCopies, own: Path) -> None:
    adopted = copies.adopt(own)
    assert contents(adopted.directory) == contents(own)
    assert adopted.identity == identity_of(own)
    assert {path.stat().st_mode & 0o777 for path in adopted.directory.rglob("*") if path.is_file()} == {0o400}
    inodes = {path.stat().st_ino for path in own.rglob("*") if path.is_file()}
    assert not inodes & {path.stat().st_ino for path in adopted.directory.rglob("*") if path.is_file()}


def overwrite(bundle: Path, other: Path) -> None:
    """As `cp -r other/. bundle` does: the files stay the same ones and get other bytes."""
    for name, content in contents(other).items():
        with (bundle / name).open("r+b") as file:
            file.truncate()
            file.write(content)


def truncate(bundle: Path, other: Path) -> None:
    for path in bundle.rglob("*"):
        if path.is_file():
            os.truncate(path, 10)


@pytest.mark.parametrize("change", [overwrite, truncate])
def test_a_mapped_bundle_is_not_changed_with_the_files_that_it_came_from(
    copies: BundleCopies, own: Path, other: Path, change: Callable[[Path, Path], None]
) -> None:
    bundle = open_bundle(copies.adopt(own).directory)
    before = {name: column.copy() for name, column in bundle.encoder.catalogue.columns.items()}
    change(own, other)
    for name, column in bundle.encoder.catalogue.columns.items():
        assert np.array_equal(column, before[name])
    assert bundle.title_of("1") == "Swimming goggles"


def test_equal_bytes_are_copied_once(copies: BundleCopies, own: Path, bundle_path: Path) -> None:
    first, second = copies.adopt(own), copies.adopt(bundle_path)
    assert (first.key, first.directory) == (second.key, second.directory)
    assert first.identity != second.identity


def test_another_process_does_not_read_the_same_files_again(
    copies: BundleCopies, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that starts finds the copy, and the record of what it was made of."""
    adopted = copies.adopt(own)

    def fail(path: Path, manifest: Manifest) -> None:
        raise AssertionError("the files are read again")

    monkeypatch.setattr(bundle_copies, "verify_files", fail)
    assert BundleCopies(tmp_path / "copies").adopt(own) == adopted
    shutil.copyfile(own / "golden.json", own / "again")
    (own / "again").replace(own / "golden.json")
    with pytest.raises(AssertionError, match="read again"):
        BundleCopies(tmp_path / "copies").adopt(own)


def test_a_file_that_was_changed_in_place_is_found(copies: BundleCopies, own: Path) -> None:
    adopted = copies.adopt(own)
    graph = own / "model.onnx"
    content = bytearray(graph.read_bytes())
    content[100] ^= 1
    graph.write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=r"model.onnx: expected sha256"):
        copies.adopt(own)
    assert open_bundle(adopted.directory)


def test_a_file_that_was_changed_without_a_trace_is_found_by_who_rereads(copies: BundleCopies, own: Path) -> None:
    copies.adopt(own)
    graph = own / "model.onnx"
    status, content = graph.stat(), bytearray(graph.read_bytes())
    content[100] ^= 1
    with graph.open("r+b") as file:
        file.write(content)
    os.utime(graph, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert copies.adopt(own)
    with pytest.raises(ChecksumMismatch, match=r"model.onnx: expected sha256"):
        copies.adopt(own, rereads=True)


def test_a_damaged_bundle_leaves_no_copy_and_is_taken_once_it_is_whole(copies: BundleCopies, own: Path) -> None:
    whole = (own / "golden.json").read_bytes()
    (own / "golden.json").write_bytes(whole[:-1])
    with pytest.raises(ChecksumMismatch):
        copies.adopt(own)
    (own / "golden.json").write_bytes(whole)
    assert contents(copies.adopt(own).directory) == contents(own)


def test_links_share_their_files_and_outlive_their_removal(own: Path, tmp_path: Path) -> None:
    copies = BundleCopies(tmp_path / "links", mode="link")
    before, adopted = contents(own), copies.adopt(own)
    assert (adopted.directory / "model.onnx").samefile(own / "model.onnx")
    shutil.rmtree(own)
    assert contents(adopted.directory) == before


def test_a_pipe_among_the_files_is_refused_and_not_waited_for(copies: BundleCopies, own: Path) -> None:
    (own / "golden.json").unlink()
    os.mkfifo(own / "golden.json")
    with pytest.raises((MissingFile, SchemaMismatch), match=r"golden.json"):
        copies.adopt(own)


def test_a_copy_without_room_is_refused_and_leaves_nothing(own: Path, tmp_path: Path) -> None:
    """The limit of a file's size stands for a full disk: both fail at the write that is too much."""
    copies = BundleCopies(tmp_path / "copies")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))
    try:
        with pytest.raises(CannotCopyBundle, match=r"the service's own copy: expected room for [\d,]+ bytes"):
            copies.adopt(own)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in (tmp_path / "copies").iterdir()] == ["lock"]
    assert copies.adopt(own)


def test_copies_that_nobody_needs_are_removed(copies: BundleCopies, own: Path, other: Path) -> None:
    first, second = copies.adopt(own), copies.adopt(other)
    copies.note_passed(first.key)
    copies.keep({second.key})
    assert not first.directory.exists()
    assert not copies.has_passed(first.key)
    assert second.directory.exists()
    assert copies.adopt(own).directory == first.directory


def switch(link: Path, target: Path) -> None:
    link.unlink()
    link.symlink_to(target)


def test_a_link_that_is_switched_amid_the_reading_gives_the_new_bundle_whole(
    copies: BundleCopies, own: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "current"
    link.symlink_to(own)
    read_manifest = bundle_copies.read_manifest

    def read_and_switch(path: Path, signatures: object = None) -> tuple[Manifest, bytes]:
        found = read_manifest(path)
        switch(link, other)
        return found

    monkeypatch.setattr(bundle_copies, "read_manifest", read_and_switch)
    adopted = copies.adopt(link)
    assert adopted.identity == identity_of(other)
    assert contents(adopted.directory) == contents(other)


def test_a_directory_that_is_replaced_amid_the_reading_gives_the_new_bundle_whole(
    copies: BundleCopies, own: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, read_manifest = contents(other), bundle_copies.read_manifest

    def read_and_replace(path: Path, signatures: object = None) -> tuple[Manifest, bytes]:
        found = read_manifest(path)
        if other.exists():
            own.rename(tmp_path / "old")
            other.rename(own)
        return found

    monkeypatch.setattr(bundle_copies, "read_manifest", read_and_replace)
    assert contents(copies.adopt(own).directory) == expected


def test_a_path_that_never_comes_to_rest_is_refused(
    copies: BundleCopies, own: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "current"
    link.symlink_to(own)
    read_manifest = bundle_copies.read_manifest

    def read_and_switch(path: Path, signatures: object = None) -> tuple[Manifest, bytes]:
        found = read_manifest(path)
        switch(link, own if path == other else other)
        return found

    monkeypatch.setattr(bundle_copies, "read_manifest", read_and_switch)
    with pytest.raises(UnsupportedFormat, match="expected one bundle while it is read, found another one, 3 times"):
        copies.adopt(link)
