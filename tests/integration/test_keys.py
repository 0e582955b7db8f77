"""Keys, TLS and slow callers against real worker processes."""

import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from dinrank.service.cli import app
from tests.fixtures.command import ROOT, TIMEOUT_S, Served, served
from tests.fixtures.redis_server import wait_until
from tests.fixtures.tls import Certificate

ONE_AD = {"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}
KEY, NEXT, ADMIN = "k" * 32, "n" * 32, "a" * 32


@pytest.fixture(scope="module")
def service(
    bundle_path: Path, redis_url: str, certificate: Certificate, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """Two workers on all interfaces, with everything on: keys, admin keys, TLS, short times."""
    directory = tmp_path_factory.mktemp("keyed")
    (directory / "keys").write_text(f"# of the tests\n{KEY}\n")
    (directory / "admin").write_text(ADMIN)
    settings = {
        "DINRANK_HOST": "127.0.0.1",
        "DINRANK_API_KEYS_FILE": str(directory / "keys"),
        "DINRANK_ADMIN_KEYS_FILE": str(directory / "admin"),
        "DINRANK_TLS_CERTIFICATE": str(certificate.certificate),
        "DINRANK_TLS_KEY": str(certificate.key),
        "DINRANK_HEADER_TIMEOUT_MS": "1000",
        "DINRANK_BODY_TIMEOUT_MS": "1000",
    }
    with served(directory, bundle_path, "--redis", redis_url, "--workers", "2", **settings) as running:
        yield running


@pytest.fixture
def client(service: Served, certificate: Certificate) -> Iterator[httpx.Client]:
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))
    with httpx.Client(base_url=service.address, verify=trusting, timeout=TIMEOUT_S) as calling:
        yield calling


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_ranking_needs_a_key_over_a_connection_that_is_encrypted(client: httpx.Client) -> None:
    assert str(client.base_url).startswith("https://")
    assert client.post("/rank", json=ONE_AD, headers=bearer(KEY)).status_code == 200
    assert client.post("/rank", json=ONE_AD, headers={"X-API-Key": KEY}).status_code == 200
    refused = client.post("/rank", json=ONE_AD, headers=bearer(NEXT))
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert refused.json()["type"] == "urn:dinrank:problem:unauthorised"
    metrics = client.get("/metrics", headers=bearer(KEY)).text
    assert 'dinrank_requests_total{outcome="unauthorised"} 1.0' in metrics


def test_a_key_is_looked_at_before_the_body_is_there(service: Served, certificate: Certificate) -> None:
    with connected(service, certificate) as connection:
        connection.sendall(b"POST /rank HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")  # and not a byte of it
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_health_needs_no_key_and_everything_else_does(client: httpx.Client) -> None:
    for path in ("/livez", "/readyz", "/docs", "/openapi.json"):
        assert client.get(path).status_code == 200, path
    for path in ("/metrics", "/model", "/nothing", "/admin/nothing"):
        assert client.get(path).status_code == 401, path
    assert client.get("/admin/nothing", headers=bearer(KEY)).status_code == 401
    assert client.get("/admin/nothing", headers=bearer(ADMIN)).status_code == 404


def test_the_health_check_of_the_image_follows_the_service_to_tls(service: Served, certificate: Certificate) -> None:
    port = service.address.rpartition(":")[2]
    own = {"DINRANK_PORT": port, "DINRANK_TLS_CERTIFICATE": str(certificate.certificate)}
    subprocess.run([sys.executable, ROOT / "docker" / "healthcheck.py"], env={**os.environ, **own}, check=True)


def test_the_documents_say_how_to_send_a_key(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}
    ranking = document["paths"]["/rank"]["post"]
    assert ranking["security"] == [{"bearer": []}, {"header": []}]
    assert "401" in ranking["responses"]
    assert "security" not in document["paths"]["/livez"]["get"]


def test_keys_are_rotated_in_all_workers_while_they_serve(service: Served, client: httpx.Client) -> None:
    file = service.output.parent / "keys"

    def answers(key: str) -> set[int]:
        """Of connections of their own, so that every worker is among them."""
        headers = {**bearer(key), "Connection": "close"}
        return {client.get("/model", headers=headers).status_code for _ in range(10)}

    file.write_text(f"{KEY}\n{NEXT}\n")
    wait_until(lambda: answers(NEXT) == {200}, "the new key is accepted")
    assert answers(KEY) == {200}
    file.write_text(NEXT)
    wait_until(lambda: answers(KEY) == {401}, "the old key is refused")
    assert answers(NEXT) == {200}
    file.write_text(KEY)
    wait_until(lambda: answers(KEY) == {200}, "the first key is accepted again")


def connected(service: Served, certificate: Certificate) -> ssl.SSLSocket:
    host, _, port = service.address.removeprefix("https://").partition(":")
    trusting = ssl.create_default_context(cafile=str(certificate.certificate))
    plain = socket.create_connection((host, int(port)), timeout=TIMEOUT_S)
    return trusting.wrap_socket(plain, server_hostname=host)


@pytest.mark.parametrize("sent", [b"POST /rank HTT", b"POST /rank HTTP/1.1\r\nHost: x\r\n"])
def test_a_caller_who_does_not_finish_the_head_is_sent_away(
    service: Served, certificate: Certificate, sent: bytes
) -> None:
    with connected(service, certificate) as connection:
        connection.sendall(sent)
        assert received(connection).startswith(b"HTTP/1.1 408 ")


def test_a_caller_who_does_not_finish_the_body_is_sent_away(service: Served, certificate: Certificate) -> None:
    with connected(service, certificate) as connection:
        head = f"POST /rank HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\nContent-Length: 100\r\n\r\n"
        connection.sendall(head.encode() + b"{")
        answer = received(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"the body did not arrive within 1000 ms" in answer


def received(connection: ssl.SSLSocket) -> bytes:
    """All that comes until the service closes the connection."""
    answer = b""
    while part := connection.recv(65_536):
        answer += part
    return answer


def test_a_caller_without_tls_gets_no_answer_and_no_key_is_sent_in_the_clear(service: Served) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(service.address.replace("https", "http") + "/livez", timeout=TIMEOUT_S)


def test_nobody_s_secret_is_in_the_log(service: Served) -> None:
    log = service.output.read_text()
    assert not any(key in log for key in (KEY, NEXT, ADMIN))
    assert "Traceback" not in log


def invoke(*arguments: str, **settings: str) -> Any:
    cleared = {name: None for name in os.environ if name.startswith("DINRANK_")}
    return CliRunner().invoke(app, ["serve", *arguments], env={**cleared, **settings})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"DINRANK_HOST": "0.0.0.0"}, "error: on 0.0.0.0 anybody who reaches this machine could use the service: set "),
        ({"DINRANK_API_KEYS_FILE": "no/such"}, "error: the keys in no/such cannot be read: No such file or directory"),
        ({"DINRANK_TLS_KEY": "no/such"}, "error: HTTPS needs both: set DINRANK_TLS_CERTIFICATE and DINRANK_TLS_KEY"),
        ({"DINRANK_ANONYMOUS": "yes"}, "error: DINRANK_ANONYMOUS or its flag: Input should be 'loopback' or 'allowed'"),
    ],
)
def test_what_would_leave_the_service_open_ends_serve_with_one_line(
    bundle_path: Path, settings: dict[str, str], message: str
) -> None:
    ended = invoke("--bundle", str(bundle_path), **settings)
    assert ended.exit_code == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith(message)


def test_the_word_lets_the_service_start_on_every_address(bundle_path: Path, tmp_path: Path, redis_url: str) -> None:
    flags = ("--redis", redis_url, "--host", "0.0.0.0")
    with served(tmp_path, bundle_path, *flags, DINRANK_ANONYMOUS="allowed") as open_to_all:
        port = open_to_all.address.rpartition(":")[2]
        assert httpx.post(f"http://127.0.0.1:{port}/rank", json=ONE_AD, timeout=TIMEOUT_S).status_code == 200
        reload = partial(httpx.post, f"http://127.0.0.1:{port}/admin/reload", timeout=TIMEOUT_S)
        assert reload().status_code == 401  # though the caller is on this machine
        assert reload(headers=open_to_all.admin()).status_code == 200
