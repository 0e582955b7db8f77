"""A bundle's path that changes while it is read."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from model.bundle.errors import UnsupportedFormat
from model.bundle.reader import Bundle, open_bundle
from model.bundle.request import encode_request
from service import loading
from service.loading import LoadedBundle, identity_of, load_bundle
from tests.fixtures.bundle import make_bundle


@pytest.fixture
def link(bundle_path: Path, tmp_path: Path) -> Path:
    link = tmp_path / "current"
    link.symlink_to(bundle_path)
    return link


@pytest.fixture
def other(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "other", shift=0.7)


def switch(link: Path, target: Path) -> None:
    link.unlink()
    link.symlink_to(target)


def assert_reproduces_its_golden_answers(loaded: LoadedBundle) -> None:
    """Encoder, graphs and answers are of one bundle."""
    for answer in loaded.bundle.golden:
        found = loaded.predictor.predict(encode_request(loaded.bundle.encoder, answer.request)).ctr_C
        assert found.tolist() == pytest.approx(answer.ctr, abs=1e-5)


def test_a_link_that_is_switched_amid_the_reading_gives_the_new_bundle_whole(
    link: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_and_switch(path: Path, **options: Any) -> Bundle:
        bundle = open_bundle(path, **options)
        switch(link, other)
        return bundle

    monkeypatch.setattr(loading, "open_bundle", open_and_switch)
    loaded = load_bundle(link)
    assert loaded.identity == identity_of(other)
    assert loaded.bundle.manifest == open_bundle(other).manifest
    assert_reproduces_its_golden_answers(loaded)


def test_a_directory_that_is_replaced_amid_the_reading_gives_the_new_bundle_whole(
    bundle_path: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the second look the graph would be the new one's, and all else the old one's."""
    place = Path(shutil.copytree(bundle_path, tmp_path / "place"))
    version = open_bundle(other).manifest.model_version

    def open_and_replace(path: Path, **options: Any) -> Bundle:
        bundle = open_bundle(path, **options)
        if other.exists():
            place.rename(tmp_path / "old")
            other.rename(place)
        return bundle

    monkeypatch.setattr(loading, "open_bundle", open_and_replace)
    loaded = load_bundle(place)
    assert loaded.bundle.manifest.model_version == version
    assert_reproduces_its_golden_answers(loaded)


def test_a_path_that_never_comes_to_rest_is_refused(
    link: Path, bundle_path: Path, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_and_switch(path: Path, **options: Any) -> Bundle:
        bundle = open_bundle(path, **options)
        switch(link, bundle_path if path == other else other)
        return bundle

    monkeypatch.setattr(loading, "open_bundle", open_and_switch)
    with pytest.raises(UnsupportedFormat, match="expected one bundle while it is read, found another one, 3 times"):
        load_bundle(link)
