"""Machine and library versions of a measurement."""

import os
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from bench.serving.servers import environment_of
from dinrank.service.store.embedded import find_redis_server
from dinrank.training.report.report import describe_machine, source_commit

_OURS = ("dinrank", "fastapi", "httptools", "numpy", "onnxruntime", "pydantic", "redis", "torch", "uvicorn", "uvloop")
_THEIRS = {
    "bentoml": ("bentoml", "onnxruntime", "redis", "uvicorn"),
    "litserve": ("litserve", "onnxruntime", "redis", "uvicorn"),
}
# Of the numerical libraries; runs with other versions are not comparable.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "MKL_NUM_THREADS")


def describe_environment() -> dict[str, Any]:
    return {
        "machine": describe_machine(),
        "commit": source_commit(),
        "python": platform.python_version(),
        "redis-server": _first_line([str(find_redis_server()), "--version"]),
        "versions": {name: version(name) for name in _OURS},
        "others": {name: _versions_in(name, packages) for name, packages in _THEIRS.items()},
        "variables": {name: os.environ[name] for name in _VARIABLES if name in os.environ},
    }


def _versions_in(library: str, packages: tuple[str, ...]) -> Mapping[str, str] | None:
    """Return None without that environment."""
    python = environment_of(library) / "python"
    if not python.exists():
        return None
    script = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    return dict(zip(packages, _first_line([str(python), "-c", script, *packages]).split(), strict=True))


def _first_line(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.partition("\n")[0]
