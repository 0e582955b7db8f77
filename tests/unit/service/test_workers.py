"""How worker processes come to be."""

import tempfile
from collections.abc import Iterator
from multiprocessing import get_context

import pytest

from dinrank.service.process.supervisor import worker_context, worker_process


@pytest.fixture
def own_way_to_start() -> Iterator[None]:
    """What the test changes of multiprocessing is undone."""
    worker_context.cache_clear()
    yield
    worker_context.cache_clear()
    get_context("forkserver").set_forkserver_preload(["__main__"])


@pytest.mark.usefixtures("own_way_to_start")
def test_workers_are_forked_from_one_process_that_has_imported_everything() -> None:
    assert isinstance(worker_process(print), get_context("forkserver").Process)


@pytest.mark.usefixtures("own_way_to_start")
def test_workers_are_started_anew_where_the_fork_servers_socket_has_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket's path has at most 107 bytes; the fork server's is 32 longer than the temporary folder's."""
    monkeypatch.setattr(tempfile, "tempdir", "/" + "t" * 75)
    assert not isinstance(worker_process(print), get_context("forkserver").Process)
