import pytest


@pytest.fixture(scope="session", autouse=True)
def _run_on_one_thread(one_torch_thread: None) -> None:
    """For every test below this directory."""
