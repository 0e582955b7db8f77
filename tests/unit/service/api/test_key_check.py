"""Who is let in: with which keys, where, and from where."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.api.key_check import KeyCheck
from service.settings import Settings
from service.telemetry import Telemetry

KEY, OTHER, ADMIN = "k" * 32, "o" * 32, "a" * 32
HERE, ELSEWHERE = ("127.0.0.1", 5), ("192.0.2.1", 5)
OPEN = ["/livez", "/readyz", "/docs", "/openapi.json", "/", "/playground/parts/app.js", "/docs/parts/swagger-ui.css"]
CLOSED = [
    "/rank",
    "/metrics",
    "/model",
    "/models",
    "/users/42",
    "/playground/users",
    "/playground/parts",
    "/nothing",
    "/livez/",
    "//livez",
    "/LIVEZ",
    "/docs/oauth2-redirect",
]


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def call(
    settings: Settings, path: str, *headers: tuple[str, str], client: Any = HERE, method: str = "POST"
) -> list[Message]:
    """What comes back for a request whose body is never asked for."""
    sent: list[Message] = []

    async def receive() -> Message:
        raise AssertionError("the body was read")

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "client": client,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
        "state": {"request_id": "r1"},
    }
    asyncio.run(KeyCheck(inside, settings=settings, telemetry=Telemetry())(scope, receive, send))
    return sent


def status(settings: Settings, path: str, *headers: tuple[str, str], client: Any = HERE, method: str = "POST") -> int:
    answered: int = call(settings, path, *headers, client=client, method=method)[0]["status"]
    return answered


def bearer(key: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {key}")


@pytest.fixture
def keyed(tmp_path: Path) -> Settings:
    (tmp_path / "keys").write_text(f"{KEY}\n{OTHER}\n")
    (tmp_path / "admin").write_text(ADMIN)
    return Settings.read(bundle=Path("b"), api_keys_file=tmp_path / "keys", admin_keys_file=tmp_path / "admin")


@pytest.fixture
def keyless() -> Settings:
    return Settings.read(bundle=Path("b"))


@pytest.mark.parametrize("path", CLOSED)
def test_a_key_is_needed_on_every_path_that_is_not_open(keyed: Settings, path: str) -> None:
    assert status(keyed, path) == 401
    for header in [bearer(KEY), ("authorization", f"bearer  {OTHER}"), ("X-API-Key", OTHER)]:
        assert status(keyed, path, header) == 200


@pytest.mark.parametrize("path", OPEN)
def test_open_paths_need_none(keyed: Settings, path: str) -> None:
    assert status(keyed, path) == 200


@pytest.mark.parametrize(
    "headers",
    [
        [bearer("")],
        [bearer(KEY[:-1])],
        [bearer(KEY + "k")],
        [bearer(KEY.upper())],
        [bearer(ADMIN)],
        [bearer("\xff" * 32)],
        [("Authorization", KEY)],
        [("Authorization", f"Basic {KEY}")],
        [("Authorization", f"Bearer {KEY}, Bearer {OTHER}")],
        [("X-API-Key", "")],
        [("X-API-Key", f"Bearer {KEY}")],
        [("Cookie", KEY)],
        # Two readers might take different ones.
        [bearer(KEY), bearer("x" * 32)],
        [bearer(KEY), bearer(KEY)],
        [("Authorization", f"Basic {KEY}"), ("X-API-Key", KEY)],
    ],
)
def test_whatever_is_not_one_key_is_refused(keyed: Settings, headers: list[tuple[str, str]]) -> None:
    assert status(keyed, "/rank", *headers) == 401


def test_a_refusal_says_what_to_send_and_repeats_nothing(keyed: Settings) -> None:
    start, body = call(keyed, "/rank", bearer("a-wrong-secret"))
    assert (b"www-authenticate", b'Bearer realm="dinrank"') in start["headers"]
    assert (b"content-type", b"application/problem+json") in start["headers"]
    document = json.loads(body["body"])
    assert (document["status"], document["type"]) == (401, "urn:dinrank:problem:unauthorised")
    assert "Authorization: Bearer KEY" in document["detail"]
    assert b"a-wrong-secret" not in body["body"]


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000", "127.0.0.2"])
def test_without_keys_a_page_is_this_machines_when_it_was_opened_so(keyless: Settings, host: str) -> None:
    assert status(keyless, "/users/42", ("Host", host), ("Sec-Fetch-Site", "same-origin")) == 200


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "192.0.2.1", "", "["]
)
def test_without_keys_a_page_under_another_name_gets_nothing(keyless: Settings, host: str) -> None:
    browser = ("Host", host), ("Sec-Fetch-Site", "same-origin")
    assert status(keyless, "/users/42", *browser) == 403
    assert status(keyless, "/", *browser) == 403
    assert status(keyless, "/users/42", browser[0]) == 200  # a server behind a proxy's name, no page
    allowed = keyless.model_copy(update={"anonymous": "allowed"})
    assert status(allowed, "/users/42", *browser) == 200


def test_admin_paths_take_admin_keys_alone(keyed: Settings) -> None:
    assert status(keyed, "/admin/reload", bearer(ADMIN), client=ELSEWHERE) == 200
    assert status(keyed, "/admin/reload", bearer(KEY)) == 401
    assert status(keyed, "/admin/reload") == 401


def test_to_remove_a_user_takes_an_admin_key_and_to_see_one_does_not(keyed: Settings, keyless: Settings) -> None:
    for path in ("/users/42", "/users/"):
        assert status(keyed, path, bearer(ADMIN), client=ELSEWHERE, method="DELETE") == 200
        assert status(keyed, path, bearer(KEY), method="DELETE") == 401
        assert status(keyed, path, bearer(KEY), method="GET") == 200
        assert status(keyed, path, bearer(ADMIN), method="GET") == 401
        assert status(keyless, path, client=HERE, method="DELETE") == 200
        assert status(keyless, path, client=ELSEWHERE, method="DELETE") == 403
        assert status(keyless, path, ("Origin", "http://127.0.0.1"), method="DELETE") == 403


def test_without_admin_keys_admin_is_for_this_machine(keyless: Settings) -> None:
    assert status(keyless, "/admin/reload", client=HERE) == 200
    assert status(keyless, "/admin/reload", client=("::1", 5)) == 200
    assert status(keyless, "/admin/reload", client=ELSEWHERE) == 403
    assert status(keyless, "/admin/reload", client=None) == 403


def test_a_service_for_other_machines_has_no_admin_without_admin_keys(keyed: Settings) -> None:
    settings = keyed.model_copy(update={"host": "0.0.0.0", "admin_keys_file": None})
    start, body = call(settings, "/admin/reload", bearer(KEY))
    assert start["status"] == 403
    assert "set DINRANK_ADMIN_KEYS_FILE" in json.loads(body["body"])["detail"]


@pytest.mark.parametrize(
    "header", ["Origin", "Forwarded", "X-Forwarded-For", "X-Real-IP", "Via"], ids=lambda header: header.lower()
)
def test_proxies_and_pages_in_a_browser_are_not_this_machine(keyless: Settings, header: str) -> None:
    assert status(keyless, "/admin/reload", (header, "127.0.0.1")) == 403


def test_without_keys_everybody_is_let_in(keyless: Settings) -> None:
    assert all(status(keyless, path, client=ELSEWHERE) == 200 for path in [*OPEN, *CLOSED])


def test_attempts_are_counted_by_problem(keyed: Settings) -> None:
    telemetry = Telemetry()
    check = KeyCheck(inside, settings=keyed, telemetry=telemetry)

    async def ignore(message: Message) -> None:
        pass

    async def nothing() -> Message:
        raise AssertionError

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/metrics",
        "headers": [],
        "client": HERE,
        "state": {"request_id": "r1"},
    }
    for _ in range(3):
        asyncio.run(check(scope, nothing, ignore))
    assert 'dinrank_turned_away_total{problem="unauthorised"} 3.0' in telemetry.exposition().decode()
