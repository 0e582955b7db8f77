"""Real sockets: a free port, one that another program has, one that dinrank has."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import uvicorn

from dinrank.service.app import create_app
from dinrank.service.doctor.port import check_port
from dinrank.service.doctor.report import Finding, Level
from dinrank.service.settings import Settings
from tests.fixtures.redis_server import wait_until


def look(port: int, host: str = "127.0.0.1") -> Finding:
    [finding] = check_port(Settings.read(bundle=Path("b"), host=host, port=port))
    return finding


@contextmanager
def in_background(target: threading.Thread) -> Iterator[None]:
    target.start()
    try:
        yield
    finally:
        target.join(30)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


def test_a_free_port_is_well() -> None:
    port = free_port()
    assert look(port) == Finding("port", Level.OK, f"127.0.0.1 port {port} is free")
    assert look(0).level is Level.OK


def test_a_port_that_another_program_has_is_wrong() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:  # answers every GET with 501
        port = other.server_address[1]
        with in_background(threading.Thread(target=other.handle_request)):
            finding = look(port)
    assert finding.level is Level.WRONG
    assert "taken by another program" in finding.message
    assert f"sport = :{port}" in finding.remedy


def test_the_port_for_probes_is_looked_at_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        probe_port = other.getsockname()[1]
        settings = Settings.read(bundle=Path("b"), port=free_port(), probe_port=probe_port)
        other.close()
        assert [finding.level for finding in check_port(settings)] == [Level.OK, Level.OK]
    with (
        HTTPServer(("127.0.0.1", probe_port), BaseHTTPRequestHandler) as other_server,
        in_background(threading.Thread(target=other_server.handle_request)),
    ):
        _, finding = check_port(settings)
    assert finding.level is Level.WRONG
    assert "set DINRANK_PROBE_PORT to another port" in finding.remedy


@pytest.mark.parametrize(("has_redis", "level"), [(True, Level.OK), (False, Level.WARNING)])
def test_a_dinrank_that_is_there_already_is_told_from_other_programs(
    has_redis: bool, level: Level, bundle_path: Path, redis_url: str
) -> None:
    redis = redis_url if has_redis else f"redis://127.0.0.1:{free_port()}"
    app = create_app(Settings.read(bundle=bundle_path, redis=redis, redis_timeout_ms=5_000))
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        with in_background(threading.Thread(target=server.run, kwargs={"sockets": [bound]})):
            wait_until(lambda: server.started, "the service listens")
            finding = look(bound.getsockname()[1])
            server.should_exit = True
    assert finding.level is level
    assert "dinrank answers on 127.0.0.1" in finding.message
    assert ("with formula" if has_redis else "says of itself: degraded") in finding.message


def test_an_address_of_another_machine_is_wrong() -> None:
    finding = look(8000, host="192.0.2.1")  # of no machine, RFC 5737
    assert finding.level is Level.WRONG
    assert "DINRANK_HOST" in finding.remedy
