"""How worker processes come to be."""

import tempfile
from collections.abc import Iterator
from multiprocessing import get_context

import pytest
import uvicorn
import uvicorn._subprocess

from service.server import _fork_workers


@pytest.fixture
def own_way_to_start(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the test changes of uvicorn and multiprocessing is undone."""
    monkeypatch.setattr(uvicorn._subprocess, "spawn", uvicorn._subprocess.spawn)
    yield
    get_context("forkserver").set_forkserver_preload(["__main__"])


@pytest.mark.usefixtures("own_way_to_start")
def test_uvicorn_forks_its_workers() -> None:
    """It has no setting for this: when it no longer starts them in the place that we change, this shows it."""
    before = uvicorn._subprocess.get_subprocess(uvicorn.Config("any:app"), print, [])
    assert not isinstance(before, get_context("forkserver").Process)
    _fork_workers()
    process = uvicorn._subprocess.get_subprocess(uvicorn.Config("any:app"), print, [])
    assert isinstance(process, get_context("forkserver").Process)


@pytest.mark.usefixtures("own_way_to_start")
def test_workers_start_as_before_where_the_fork_servers_socket_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has at most 107 bytes; the fork server's is 32 longer than the temporary folder's."""
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 75)
    _fork_workers()
    process = uvicorn._subprocess.get_subprocess(uvicorn.Config("any:app"), print, [])
    assert not isinstance(process, get_context("forkserver").Process)
