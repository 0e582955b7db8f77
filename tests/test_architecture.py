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
    "torch": ("model/layers", "model/nets", "model/serving", "training"),
    "numba": ("model/layers/kernels.py",),
    "llvmlite": ("model/layers/kernels.py",),
    "onnx": ("training",),
    "onnx_ir": ("training/graph_files.py",),
    "onnxscript": ("training",),
    "onnxruntime": (
        "training/export.py",
        "training/stages.py",
        "training/compare/latency.py",
        "service/scoring/sessions.py",
    ),
    "fastapi": ("service/api", "service/app.py"),
    "fastapi_offline": ("service/app.py",),
    "starlette": ("service/api", "service/app.py"),
    "uvicorn": (
        "service/server.py",
        "service/stopping.py",
        "service/supervisor.py",
        "service/preloaded.py",
        "service/protocol.py",
    ),
    "httptools": ("service/protocol.py",),
    "redis": ("service/store", "service/publish"),
    "msgspec": ("service/api",),
    "orjson": ("service/store",),
    "packaging": ("service/doctor",),
    "polars": ("service/publish", "service/demo.py", "training"),
    "pyarrow": ("service/publish", "training"),
    "prometheus_client": (
        "service/telemetry.py",
        "service/bulk_histogram.py",
        "service/process_metrics.py",
        "service/tally.py",
    ),
    "opentelemetry": ("service/tracing",),
    "pydantic": ("service/settings.py", "service/api", "service/cli.py"),
    "pydantic_core": ("service/api",),
    "pydantic_settings": ("service/settings.py",),
    "matplotlib": ("training/compare/plot.py", "training/html_report"),
    "jinja2": ("training/html_report",),
    "markupsafe": ("training/html_report",),
    "typer": ("service/cli.py", "service/announcement.py", "training"),
    "rich": ("service/cli.py", "service/demo.py", "service/publish", "training"),
    "httpx": ("service/demo.py",),
    "cryptography": ("service/signatures.py", "training/signing.py"),
}

# Part of the tree -> the parts of our own packages that it may import.
LAYERS: Mapping[str, Sequence[str]] = {
    "model/auction.py": (),
    "model/bundle": ("model.bundle",),
    "model/layers": ("model.bundle", "model.layers"),
    "model/nets": ("model.bundle", "model.layers", "model.nets"),
    "model/serving": ("model.bundle", "model.layers", "model.nets", "model.serving"),
    "training": ("model", "training"),
    "service": ("model.auction", "model.bundle", "service"),
    "service/store": ("model.bundle", "service.store", "service.errors"),
    "service/publish": ("model.bundle", "service.publish", "service.store", "service.errors"),
    "service/scoring": (
        "model.auction",
        "model.bundle",
        "service.scoring",
        "service.store.protocol",
        "service.errors",
        "service.telemetry",
    ),
    "service/errors.py": (),
    "service/telemetry.py": (
        "service.bulk_histogram",
        "service.process_metrics",
        "service.stage_timer",
        "service.tally",
    ),
    "service/stage_timer.py": ("service.tally",),
    "service/tally.py": ("service.bulk_histogram",),
    "service/logs.py": ("service.telemetry",),
    "service/tracing": ("service.tracing", "service.telemetry"),
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


def violations(path: str, source: str) -> list[str]:
    """What a module at `path`, relative to the root, imports and must not."""
    found = []
    for module in imported_modules(source, package=path.rpartition("/")[0].replace("/", ".")):
        top = module.partition(".")[0]
        if top in PACKAGES:
            layers = [allowed for part, allowed in LAYERS.items() if is_within(path, [part], "/")]
            if not all(is_within(module, allowed, ".") for allowed in layers):
                found.append(f"{path} imports {module}")
        elif top not in sys.stdlib_module_names and not is_within(path, OUTSIDE_WORLDS.get(top, ()), "/"):
            found.append(f"{path} imports {module}")
    return found


@pytest.mark.parametrize("path", source_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_obeys_the_table(path: Path) -> None:
    assert violations(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/bundle/x.py", "import torch"),
        ("model/bundle/x.py", "from service.errors import ServiceError"),
        ("model/layers/x.py", "import training.loop"),
        ("model/nets/x.py", "import onnxruntime"),
        ("service/scoring/x.py", "import onnxruntime.capi"),
        ("service/scoring/ranker.py", "from fastapi import Request"),
        ("service/scoring/ranker.py", "from service.store.redis_store import RedisFeatureStore"),
        ("service/api/x.py", "import redis.asyncio as redis"),
        ("service/x.py", "from model import layers"),
        ("service/x.py", "from training.metrics import auc"),
        ("service/app.py", "def f():\n    import torch"),
        ("service/errors.py", "from service.api import errors"),
        ("service/x.py", "import requests"),
        ("training/loop.py", "from onnxruntime import InferenceSession"),
        ("training/x.py", "import service"),
    ],
)
def test_a_forbidden_import_is_found(path: str, source: str) -> None:
    assert len(violations(path, source)) == 1


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("model/bundle/x.py", "import numpy, json\nfrom . import schema\nfrom .schema import Group"),
        ("service/api/x.py", "from ..errors import ServiceError\nimport fastapi"),
        ("training/export.py", "import onnxruntime, torch\nfrom model.nets import din"),
    ],
)
def test_an_allowed_import_passes(path: str, source: str) -> None:
    assert violations(path, source) == []


def test_the_models_package_file_stays_empty() -> None:
    assert (ROOT / "model" / "__init__.py").read_text() == ""


@pytest.mark.parametrize("module", ["service.app", "service.cli"])
def test_the_service_never_imports_torch(module: str) -> None:
    assert importlib.util.find_spec("torch"), "proves nothing without torch: pip install -e .[training]"
    program = f"import {module}, sys; print('torch' in sys.modules, 'polars' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
