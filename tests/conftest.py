"""Fixtures that more than one kind of test uses."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Time is no property of what is tested, and a busy machine takes its own.
settings.register_profile("dinrank", deadline=None)
settings.load_profile("dinrank")

# One thread for torch, before anything imports it, in this process and in those that tests start. The tests' tensors
# are tiny: threads that wait for each other, and for those of the other workers, cost more than they save.
os.environ["OMP_NUM_THREADS"] = "1"

# Run when they are named alone: the tests that need a browser (`make e2e`), and those that execute the documents
# (`make docs`).
_NAMED_ONLY = tuple(Path(__file__).parent / name for name in ("e2e", "docs"))

pytest_plugins = [
    "tests.fixtures.bundle",
    "tests.fixtures.dataset",
    "tests.fixtures.exporter",
    "tests.fixtures.real_data",
    "tests.fixtures.redis_server",
    "tests.fixtures.service",
    "tests.fixtures.signing",
    "tests.fixtures.promql",  # after those that it imports
    "tests.fixtures.tls",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What tests marked `anyio` run on: the event loop of the service."""
    return "asyncio"


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    for folder in _NAMED_ONLY:
        is_named = any(Path(argument.partition("::")[0]).resolve().is_relative_to(folder) for argument in config.args)
        if collection_path.is_relative_to(folder) and not is_named:
            return True
    return None
