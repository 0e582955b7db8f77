"""Fixtures that more than one kind of test uses."""

import os

import pytest

# One thread for torch, before anything imports it, in this process and in those that tests start. The tests' tensors
# are tiny: threads that wait for each other, and for those of the other workers, cost more than they save.
os.environ["OMP_NUM_THREADS"] = "1"

pytest_plugins = [
    "tests.fixtures.bundle",
    "tests.fixtures.dataset",
    "tests.fixtures.exporter",
    "tests.fixtures.real_data",
    "tests.fixtures.redis_server",
    "tests.fixtures.service",
    "tests.fixtures.promql",  # after those that it imports
    "tests.fixtures.tls",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What tests marked `anyio` run on: the event loop of the service."""
    return "asyncio"
