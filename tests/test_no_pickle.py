"""Nothing that the service reads can run code: no pickle, and nothing built on it, anywhere in its path."""

import ast
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from dinrank.model.bundle.errors import UnsupportedFormat
from dinrank.model.bundle.files import column_file
from dinrank.model.bundle.reader import open_bundle
from tests.fixtures.bundle import declare_as_genuine, make_bundle
from tests.test_architecture import ROOT, imported_modules, is_within

PICKLES = ("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "torch")
IN_THE_PATH = [path for part in ("service", "model/bundle") for path in sorted((ROOT / part).rglob("*.py"))]


def calls_that_may_unpickle(source: str) -> Iterator[str]:
    """Calls with `allow_pickle` that is not the literal False, and of functions that unpickle."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            for keyword in node.keywords:
                if keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False":
                    yield f"{called}(allow_pickle={ast.unparse(keyword.value)})"
            if called.endswith(("read_pickle", "NpzFile")) or called in ("eval", "exec", "compile", "__import__"):
                yield called


@pytest.mark.parametrize("path", IN_THE_PATH, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_of_the_services_path_unpickles(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    package = path.relative_to(ROOT).parent.as_posix().replace("/", ".")
    assert [name for name in imported_modules(source, package) if is_within(name, PICKLES, ".")] == []
    assert list(calls_that_may_unpickle(source)) == []


@pytest.mark.parametrize("source", ["np.load(file, allow_pickle=True)", "np.load(file, allow_pickle=x)", "eval(text)"])
def test_a_call_that_unpickles_is_found(source: str) -> None:
    assert len(list(calls_that_may_unpickle(source))) == 1


class RunsCode:
    """What an attacker would put into a pickle; loading it leaves a file."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self._file,))


def test_a_pickle_in_an_array_of_the_bundle_is_refused_and_never_run(tmp_path: Path) -> None:
    bundle, trace = make_bundle(tmp_path / "bundle"), tmp_path / "the code ran"
    name = column_file("price")
    np.save(bundle / name, np.array([RunsCode(trace)] * 3, dtype=object), allow_pickle=True)
    np.load(bundle / name, allow_pickle=True)
    assert trace.exists()  # so it would work
    trace.unlink()
    declare_as_genuine(bundle, name)
    with pytest.raises(UnsupportedFormat, match=name):
        open_bundle(bundle)
    assert not trace.exists()
