"""What the service uses of uvicorn and httptools without their promise: a new version that changes it fails here first.

The remedy is to read the new version beside `protocol.py`, `stopping.py` and `supervisor.py` in `service/process/`.
"""

import importlib.metadata
import inspect
import re
from collections.abc import Callable
from typing import Any

import httptools
import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

READ_WITH = {"uvicorn": "0.54", "httptools": "0.9"}  # minor versions whose source was read

# Where each name is given its value; `self.` and assigned, or a method.
PROTOCOL = {
    "parser", "transport", "flow", "loop", "app", "cycle", "pipeline", "headers", "url", "scheme", "connections"
}  # fmt: skip
CYCLE = {
    "disconnected", "keep_alive", "message_event", "response_started", "response_complete", "scope",
    "waiting_for_100_continue",
}  # fmt: skip
PROCESS = {"config", "_server", "parent_conn", "child_conn", "process"}
SERVER = {"lifespan", "server_state", "servers", "config", "force_exit"}


@pytest.mark.parametrize("name", READ_WITH)
def test_this_version_was_read(name: str) -> None:
    found = importlib.metadata.version(name)
    assert found.startswith(f"{READ_WITH[name]}."), (
        f"{name} {found} is new here: compare what service/process/protocol.py uses with its source, run the tests of "
        "this module and of test_protocol.py, then change READ_WITH"
    )


@pytest.mark.parametrize(
    ("owner", "names"),
    [(HttpToolsProtocol, PROTOCOL), (RequestResponseCycle, CYCLE), (Process, PROCESS), (uvicorn.Server, SERVER)],
)
def test_the_attributes_that_are_used_are_there(owner: type[Any], names: set[str]) -> None:
    source = inspect.getsource(owner)
    missing = [name for name in sorted(names) if not re.search(rf"self\.{name}\b", source)]
    assert not missing, f"{owner.__name__} of this uvicorn has no {', '.join(missing)}"


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (HttpToolsProtocol._start_asgi_task, ["self", "cycle", "app"]),
        (HttpToolsProtocol._unset_keepalive_if_required, ["self"]),
        (HttpToolsProtocol.on_response_complete, ["self"]),
        (HttpToolsProtocol.connection_made, ["self", "transport"]),
        (HttpToolsProtocol.connection_lost, ["self", "exc"]),
        (HttpToolsProtocol.__init__, ["self", "config", "server_state", "app_state", "_loop"]),
        (uvicorn.Server.startup, ["self", "sockets"]),
        (uvicorn.Server.shutdown, ["self", "sockets"]),
        (Process.target, ["self", "sockets"]),
        (Process.is_ready, ["self", "timeout"]),
        (Multiprocess.__init__, ["self", "config", "sockets"]),
        (Multiprocess.terminate_all, ["self"]),
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_the_methods_that_are_used_take_what_they_are_given(method: Callable[..., Any], parameters: list[str]) -> None:
    assert list(inspect.signature(method).parameters) == parameters


def test_a_waiting_request_stands_left_in_the_pipeline_with_its_application() -> None:
    source = inspect.getsource(HttpToolsProtocol.on_headers_complete)
    assert "self.pipeline.appendleft((self.cycle, app))" in source
    assert "transport=self.transport" in source  # so that answers go through the service's own


def test_a_server_without_sockets_starts_the_application_and_listens_nowhere() -> None:
    source = inspect.getsource(uvicorn.Server.startup)
    assert "if sockets is not None" in source
    assert "for sock in sockets" in source


@pytest.mark.parametrize("name", ["feed_data", "get_http_version", "get_method", "should_upgrade"])
def test_the_parser_can_do_what_it_is_asked(name: str) -> None:
    assert callable(getattr(httptools.HttpRequestParser, name))
