"""More connections than there are places, over TLS too, and fewer files than connections: real worker processes."""

import http.client
import json
import re
import resource
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from tests.fixtures.command import ONE_AD, TIMEOUT_S, Served, served
from tests.fixtures.redis_server import wait_until
from tests.fixtures.tls import Certificate

MAX_CONNECTIONS = 20


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def probe_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def service(
    bundle_path: Path,
    redis_url: str,
    certificate: Certificate,
    probe_port: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """One worker with TLS, few places, and a port for probes."""
    settings = {
        "DINRANK_TLS_CERTIFICATE": str(certificate.certificate),
        "DINRANK_TLS_KEY": str(certificate.key),
        "DINRANK_MAX_CONNECTIONS": str(MAX_CONNECTIONS),
        "DINRANK_PROBE_PORT": str(probe_port),
    }
    with served(tmp_path_factory.mktemp("tls"), bundle_path, "--redis", redis_url, **settings) as running:
        yield running
        assert "Traceback" not in running.output.read_text()


@contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    """Connections on which nothing is sent."""
    with ExitStack() as stack:
        yield [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S)) for _ in range(count)
        ]


def get(port: int, path: str, certificate: Certificate | None = None) -> tuple[int, str]:
    """On a connection of its own."""
    connection: http.client.HTTPConnection
    if certificate is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    else:
        context = ssl.create_default_context(cafile=certificate.certificate)
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=TIMEOUT_S, context=context)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read().decode()
    connection.close()
    return answer


def metric(text: str, sample: str) -> float:
    found = re.search(rf"^{re.escape(sample)} (\S+)$", text, re.MULTILINE)
    assert found, sample
    return float(found[1])


GAVE_WAY = 'dinrank_dropped_connections_total{cause="gave_way"}'
HANDSHAKE = 'dinrank_dropped_connections_total{cause="handshake"}'
NO_FILE = 'dinrank_dropped_connections_total{cause="no_file"}'


def port_of(service: Served) -> int:
    return int(service.address.rpartition(":")[2])


def test_handshakes_that_do_not_end_keep_nobody_out(service: Served, certificate: Certificate) -> None:
    port, files = port_of(service), len(psutil.Process(service.process.pid).open_files())
    before = metric(get(port, "/metrics", certificate)[1], GAVE_WAY)
    with crowd(port, 5 * MAX_CONNECTIONS):
        assert [get(port, "/livez", certificate)[0] for _ in range(5)] == [200] * 5
        text = get(port, "/metrics", certificate)[1]
        assert metric(text, GAVE_WAY) - before >= 4 * MAX_CONNECTIONS
        # Those that are left end of themselves, after the time of a handshake.
        ended = metric(text, HANDSHAKE)
        wait_until(lambda: metric(get(port, "/metrics", certificate)[1], HANDSHAKE) > ended, "handshakes are given up")
    assert len(psutil.Process(service.process.pid).open_files()) <= files + MAX_CONNECTIONS


def test_the_port_for_probes_has_these_alone_and_places_of_its_own(
    service: Served, certificate: Certificate, probe_port: int
) -> None:
    with crowd(port_of(service), 3 * MAX_CONNECTIONS), crowd(probe_port, 50):
        for path in ("/livez", "/readyz", "/metrics"):
            assert get(probe_port, path, certificate)[0] == 200
        for path in ("/rank", "/", "/docs", "/users/1", "/livez/"):
            status, body = get(probe_port, path, certificate)
            assert (status, json.loads(body)["title"]) == (404, "Not Found")
    assert f"https://127.0.0.1:{probe_port}" in service.output.read_text()


def test_several_workers_share_the_port_for_probes(bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {"DINRANK_PROBE_PORT": str(port)}
    with served(tmp_path, bundle_path, "--redis", redis_url, "--workers", "2", **settings):
        assert [get(port, "/livez")[0] for _ in range(10)] == [200] * 10


def test_a_process_without_files_says_so_once_and_goes_on(bundle_path: Path, redis_url: str, tmp_path: Path) -> None:
    with served(tmp_path, bundle_path, "--redis", redis_url) as service:
        port, pid = port_of(service), service.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        num_open = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        with crowd(port, 1):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (num_open + 10, hard))
            with crowd(port, 100):
                wait_until(lambda: "cannot_accept" in service.output.read_text(), "it says that it has no files left")
                assert [get(port, "/livez")[0] for _ in range(5)] == [200] * 5
                assert metric(get(port, "/metrics")[1], NO_FILE) >= 1
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))
        assert httpx.post(f"{service.address}/rank", json=ONE_AD, timeout=TIMEOUT_S).status_code == 200
        log = service.output.read_text()
    assert log.count("cannot_accept") == 1
    assert "Traceback" not in log


@pytest.mark.parametrize(("hard", "granted"), [(4_000, 1_208), (300, 300)])
def test_as_many_files_as_connections_need_are_taken_or_fewer_connections_kept(
    bundle_path: Path, redis_url: str, tmp_path: Path, hard: int, granted: int
) -> None:
    with (
        served(tmp_path, bundle_path, "--redis", redis_url, under=("prlimit", f"--nofile=256:{hard}")) as service,
        crowd(port_of(service), 400),
    ):
        assert resource.prlimit(service.process.pid, resource.RLIMIT_NOFILE) == (granted, hard)
        assert [get(port_of(service), "/livez")[0] for _ in range(5)] == [200] * 5
        log = service.output.read_text()
    assert ("few_files" in log) is (granted < 1_208)
    assert "cannot_accept" not in log
