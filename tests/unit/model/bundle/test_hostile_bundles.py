"""Bundles whose checksums all fit and whose files may say anything: each fault is a refusal that names its file."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dinrank.model.bundle.errors import BundleError
from dinrank.model.bundle.manifest import MANIFEST_FILE
from dinrank.model.bundle.reader import open_bundle
from tests.fixtures.bundle import declare_as_genuine

JSON_FILES = ["schema.json", "golden.json", "vocabulary/price.json"]
ARRAY_FILES = [
    "items/price.npy",
    "items/ids/words.npy",
    "vocabulary/genre/starts.npy",
    "titles/starts.npy",
    "titles/text.npy",
]
DEEP = "[" * 100_000 + "]" * 100_000

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
documents = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
each_example = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def own_bundle(bundle_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_path, tmp_path / "own"))


def assert_refused(bundle: Path, name: str, content: bytes) -> None:
    (bundle / name).write_bytes(content)
    declare_as_genuine(bundle, name)
    with pytest.raises(BundleError) as refused:
        open_bundle(bundle)
    assert len(str(refused.value)) < 1_000
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", JSON_FILES)
@pytest.mark.parametrize(
    "text", ["null", "0", '""', "[null]", '{"features": null}', DEEP, "[1e999]", "[NaN]", "", "\0"]
)
def test_json_of_another_form_is_refused(own_bundle: Path, name: str, text: str) -> None:
    assert_refused(own_bundle, name, text.encode())


@pytest.mark.parametrize(
    "text", ["null", "[]", DEEP, '{"format_version": 2, "files": null}', '{"format_version": NaN}']
)
def test_a_manifest_of_another_form_is_refused(own_bundle: Path, text: str) -> None:
    (own_bundle / MANIFEST_FILE).write_text(text)
    with pytest.raises(BundleError, match=MANIFEST_FILE):
        open_bundle(own_bundle)


def array_header(shape: str, kind: str = "<i4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


@pytest.mark.parametrize("name", ARRAY_FILES)
@pytest.mark.parametrize(
    "shape", ["(4611686018427387904,)", "(-1,)", "(2, 9223372036854775807)", "(0,)", "()", "8", "(True,)"]
)
def test_an_array_of_an_absurd_shape_is_refused(own_bundle: Path, name: str, shape: str) -> None:
    assert_refused(own_bundle, name, array_header(shape) + bytes(64))


@pytest.mark.parametrize("kind", ["|O", "<U5", "|V8", "<f2", "<c8", ">i4", "nonsense"])
def test_an_array_of_another_type_is_refused(own_bundle: Path, kind: str) -> None:
    assert_refused(own_bundle, "items/ids/words.npy", array_header("(6,)", kind) + bytes(256))


@each_example
@given(document=documents, name=st.sampled_from(JSON_FILES))
def test_whatever_json_says_instead_it_is_refused(
    bundle_path: Path, own_bundle: Path, document: Any, name: str
) -> None:
    assert_refused(own_bundle, name, json.dumps(document).encode())
    shutil.copyfile(bundle_path / name, own_bundle / name)
    declare_as_genuine(own_bundle, name)


@each_example
@given(data=st.data(), name=st.sampled_from(ARRAY_FILES))
def test_whatever_an_array_holds_it_is_a_bundle_or_a_refusal(
    bundle_path: Path, own_bundle: Path, data: st.DataObject, name: str
) -> None:
    content = bytearray((bundle_path / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (own_bundle / name).write_bytes(content)
    declare_as_genuine(own_bundle, name)
    try:
        bundle = open_bundle(own_bundle)
    except BundleError:
        return
    finally:
        shutil.copyfile(bundle_path / name, own_bundle / name)
        declare_as_genuine(own_bundle, name)
    assert len(bundle.encoder.catalogue.rows(["1", "nobody"])) == 2
    assert isinstance(bundle.title_of("1"), str)
