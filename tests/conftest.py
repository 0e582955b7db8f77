"""Fixtures that more than one kind of test uses."""

import pytest

pytest_plugins = [
    "tests.fixtures.bundle",
    "tests.fixtures.dataset",
    "tests.fixtures.real_data",
    "tests.fixtures.torch_threads",
    "tests.fixtures.redis_server",
    "tests.fixtures.service",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """What tests marked `anyio` run on: the event loop of the service."""
    return "asyncio"
