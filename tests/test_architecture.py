"""Imports obey the table: each outside world stands behind the modules named here, and layers point one way."""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service", "training")

# Third-party package -> the only places that import it. One that is not listed may be imported nowhere.
OUTSIDE_WORLDS: Mapping[str, Sequence[str]] = {
    "numpy": PACKAGES,
    "torch": ("model/layers", "model/nets", "training"),
    "numba": ("model/layers/kernels.py",),
    "llvmlite": ("model/layers/kernels.py",),
    "onnx": ("training/export",),
    "onnx_ir": ("training/export/graph_files.py",),
    "onnxscript": ("training/export",),
    "onnxruntime": ("training/export", "training/compare/latency.py", "service/scoring/sessions.py"),
    "fastapi": ("service/api", "service/app.py"),
    "fastapi_offline": ("service/app.py",),
    "starlette": ("service/api", "service/app.py"),
    "uvicorn": ("service/process", "service/preloaded.py"),
    "httptools": ("service/process/protocol.py",),
    "redis": ("service/store", "service/publish"),
    "hiredis": ("service/store/parser.py",),
    "msgspec": ("service/api",),
    "orjson": ("service/store",),
    "packaging": ("service/doctor",),
    "polars": ("service/publish", "service/commands/demo.py", "training"),
    "pyarrow": ("service/publish", "training"),
    "prometheus_client": ("service/telemetry",),
    "opentelemetry": ("service/telemetry/spans.py",),
    "pydantic": ("service/settings.py", "service/api", "service/cli.py"),
    "pydantic_core": ("service/api",),
    "pydantic_settings": ("service/settings.py",),
    "matplotlib": ("training/compare/plot.py", "training/report"),
    "jinja2": ("training/report",),
    "markupsafe": ("training/report",),
    "typer": ("service/cli.py", "service/commands/announcement.py", "training"),
    "rich": ("service/cli.py", "service/commands/demo.py", "service/publish", "training"),
    "httpx": ("service/commands/demo.py",),
    "cryptography": ("service/lineup/signatures.py", "training/export/signing.py"),
}

# Part of the tree -> the parts of our own packages that it may import.
LAYERS: Mapping[str, Sequence[str]] = {
    "model/auction.py": (),
    "model/bundle": ("model.bundle",),
    "model/layers": ("model.bundle", "model.layers"),
    "model/nets": ("model.bundle", "model.layers", "model.nets"),
    "training": ("model", "training"),
    "service": ("model.auction", "model.bundle", "service"),
    "service/scoring": (
        "model",
        "service.scoring",
        "service.store.protocol",
        "service.errors",
        "service.telemetry",
    ),
}
# The wings of a package, lowest first: each imports those of the lines below it alone, and none of its own line.
WINGS: Mapping[str, Sequence[frozenset[str]]] = {
    "service": (
        frozenset({"cores", "errors", "telemetry"}),
        frozenset({"access", "store"}),
        frozenset({"publish", "scoring", "settings"}),
        frozenset({"lineup"}),
        frozenset({"api", "commands"}),
        frozenset({"consume", "process"}),
        frozenset({"app", "doctor"}),
        frozenset({"cli"}),
        frozenset({"preloaded", "__main__"}),
    ),
    "training": (
        frozenset({"errors"}),
        frozenset({"config", "data", "export", "output"}),
        frozenset({"measure", "prepare", "requests"}),
        frozenset({"diagnostics", "report"}),
        frozenset({"fit"}),
        frozenset({"compare", "replay", "table"}),
        frozenset({"run"}),
        frozenset({"cli"}),
        frozenset({"__main__"}),
    ),
}


def source_files() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


def imported_modules(source: str, package: str) -> Iterator[str]:
    """Every module that `source` imports, anywhere in it. Of `from x import y` it gives x and x.y."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = importlib.util.resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{module}.{alias.name}" for alias in node.names)


def is_within(name: str, parts: Sequence[str], separator: str) -> bool:
    return any(name == part or name.startswith(part + separator) for part in parts)


def climbs(path: str, module: str) -> bool:
    """Return whether a module imports a wing of its own package that is not below its own."""
    package, _, rest = path.partition("/")
    own, other = rest.partition("/")[0].removesuffix(".py"), (*module.split("."), "")[1]
    if package not in WINGS or module.partition(".")[0] != package or own in (other, "__init__"):
        return False
    levels = {wing: level for level, wings in enumerate(WINGS[package]) for wing in wings}
    return other in levels and levels[other] >= levels[own]


def violations(path: str, source: str) -> list[str]:
    """What a module at `path`, relative to the root, imports and must not."""
    found = []
    for module in imported_modules(source, package=f"dinrank.{path.rpartition('/')[0].replace('/', '.')}"):
        top = module.partition(".")[0]
        if top in PACKAGES:
            found.append(f"{path} imports {module} by its bare name, which is not installed")
        elif module.startswith("dinrank."):
            module = module.removeprefix("dinrank.")
            layers = [allowed for part, allowed in LAYERS.items() if is_within(path, [part], "/")]
            if not all(is_within(module, allowed, ".") for allowed in layers):
                found.append(f"{path} imports {module}")
            if climbs(path, module):
                found.append(f"{path} imports {module}, which is not below it")
        elif (
            top != "dinrank"
            and top not in sys.stdlib_module_names
            and not is_within(path, OUTSIDE_WORLDS.get(top, ()), "/")
        ):
            found.append(f"{path} imports {module}")
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_obeys_the_table(path: Path) -> None:
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/bundle/x.py", "import torch"),
        ("model/bundle/x.py", "from dinrank.service.errors import ServiceError"),
        ("model/layers/x.py", "import dinrank.training.fit.loop"),
        ("model/nets/x.py", "import onnxruntime"),
        ("service/scoring/x.py", "import onnxruntime.capi"),
        ("service/scoring/ranker.py", "from fastapi import Request"),
        ("service/scoring/ranker.py", "from dinrank.service.store.redis_store import RedisFeatureStore"),
        ("service/api/x.py", "import redis.asyncio as redis"),
        ("service/app.py", "from model import layers"),
        ("service/app.py", "from dinrank.training.measure.metrics import auc"),
        ("service/app.py", "def f():\n    import torch"),
        ("service/errors.py", "from dinrank.service.api import problems"),
        ("service/lineup/x.py", "from dinrank.service.api.schemas import ModelName"),
        ("service/store/x.py", "from dinrank.service.settings import Settings"),
        ("training/measure/x.py", "from dinrank.training.fit.loop import train"),
        ("service/app.py", "import requests"),
        ("training/fit/loop.py", "from onnxruntime import InferenceSession"),
        ("training/run.py", "import dinrank.service.app"),
        ("service/app.py", "from service.errors import ServiceError"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/bundle/x.py", "import numpy, json\nfrom . import schema\nfrom .schema import Group"),
        ("service/api/x.py", "from ..errors import ServiceError\nimport fastapi"),
        ("training/export/bundle.py", "import onnxruntime, torch\nfrom dinrank.model.nets import din"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_every_wing_has_its_place() -> None:
    for package, wings in WINGS.items():
        there = {path.stem for path in (ROOT / package).glob("*.py") if path.stem != "__init__"}
        there |= {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert there == frozenset().union(*wings)


def test_the_models_package_file_stays_empty() -> None:
    assert (ROOT / "model" / "__init__.py").read_text() == ""


@pytest.mark.parametrize("module", ["dinrank.service.app", "dinrank.service.cli"])
def test_the_service_never_imports_torch(module: str) -> None:
    assert importlib.util.find_spec("torch"), "proves nothing without torch: pip install -e .[training]"
    program = f"import {module}, sys; print('torch' in sys.modules, 'polars' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["prepare", "--help"], ["nonsense"]])
def test_the_trainers_command_line_answers_before_anything_large_is_imported(arguments: list[str]) -> None:
    program = (
        "import sys, dinrank.training.__main__ as command\n"
        "try: command.main()\n"
        "finally: print([name for name in ('torch', 'polars', 'onnx', 'numba') if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert answer.stdout.splitlines()[-1] == "[]", answer.stderr
