"""What every answer says to browsers and caches, and which bodies are not read."""

import json
import re
from typing import Any

import pytest

from tests.fixtures.service import ADMIN, RunningService

BODY = b'{"user_id": "42", "candidates": [{"ad_id": "1", "bid": 1.0}]}'
EVENT = b'{"event_id": "e1", "user_id": "42", "item_id": "1", "timestamp": 1}'
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("method", "path", "content"),
    [
        *[("GET", path, b"") for path in ("/", "/docs", "/livez", "/readyz", "/metrics", "/model", "/openapi.json")],
        *[("GET", path, b"") for path in ("/users/42", "/users?user_id=42", "/playground/users", "/nothing", "/rank")],
        *[
            ("GET", path, b"")
            for path in ("/docs/parts/swagger-ui.css", "/docs/parts/none", "/playground/parts/app.js")
        ],
        *[("GET", path, b"") for path in ("/users/%0a", "/users/")],
        ("POST", "/rank", BODY),
        ("POST", "/rank", b"{"),
        ("POST", "/behaviours", b'{"events": [' + EVENT + b"]}"),
        ("POST", "/behaviours", b"{"),
        ("POST", "/admin/reload", b""),
        ("DELETE", "/users/42", b""),
        ("OPTIONS", "/rank", b""),
    ],
)
def test_every_answer_says_what_may_be_done_with_it(
    service: RunningService, method: str, path: str, content: bytes
) -> None:
    for headers in (JSON, JSON | ADMIN):
        answer = service.request(method, path, content=content, headers=headers)
        assert answer.headers.get_list("X-Content-Type-Options") == ["nosniff"]
        assert len(answer.headers.get_list("X-Request-ID")) == 1
        [cached] = answer.headers.get_list("Cache-Control")
        is_page = answer.is_success and (path in ("/", "/docs") or path.startswith("/playground/parts"))
        assert cached == ("no-cache" if is_page else "no-store")
        if path != "/rank":
            [policy] = answer.headers.get_list("Content-Security-Policy")
            assert "default-src 'none'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy


def test_the_documents_page_runs_no_script_but_its_own(service: RunningService) -> None:
    page = service.get("/docs")
    policy = page.headers["Content-Security-Policy"]
    assert len(re.findall(r"<script>", page.text)) == len(re.findall(r"'sha256-[A-Za-z0-9+/]{43}='", policy)) == 1


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate", "GZIP", "identity, gzip", "x", "identity,"])
@pytest.mark.parametrize(("method", "path"), [("POST", "/rank"), ("POST", "/behaviours"), ("GET", "/livez")])
def test_an_encoded_body_is_refused_with_the_header_s_name(
    service: RunningService, method: str, path: str, coding: str
) -> None:
    answer = service.request(method, path, content=BODY, headers=JSON | {"Content-Encoding": coding})
    assert (answer.status_code, answer.headers["Accept-Encoding"]) == (415, "identity")
    assert answer.json()["type"] == "urn:dinrank:problem:unsupported-encoding"
    assert answer.json()["errors"][0]["field"] == "Content-Encoding"


@pytest.mark.parametrize("coding", ["identity", "Identity", " identity ", ""])
def test_a_body_that_is_as_it_is_may_say_so(service: RunningService, coding: str) -> None:
    assert service.rank(BODY, Content_Encoding=coding).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"user_id": "1", "user_id": "42", "candidates": [{"ad_id": "1", "bid": 1}]}', "user_id"),
        (b'{"user_id": "42", "user_id": "42", "candidates": [{"ad_id": "1", "bid": 1}]}', "user_id"),
        (b'{"user_id": "1", "user\\u005fid" :"42", "candidates": [{"ad_id": "1", "bid": 1}]}', "user_id"),
        (b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1}, {"ad_id": "1", "bid": 1, "bid": 2}]}', "1.bid"),
        (b'{"user_id": "1", "candidates": [], "candidates": [{"ad_id": "1", "bid": 1}]}', "candidates"),
        (b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1}], "context": {"hour": 1, "hour": 2}}', "hour"),
        (b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1}], "top_k": null, "top_k": null}', "top_k"),
        (b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1, "features": {"a": 1, "b": 2, "a": 3}}]}', ".a"),
        (b'{"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1, "features": {}, "features": {}}]}', "0.features"),
        # As many colons as if there were none: in strings that are there, or not any more.
        (b'{"user_id": ":", "user_id": "1", "candidates": [{"ad_id": "1", "bid": 1}]}', "user_id"),
        (b'{"user_id": "1", "user_id": "\\u003a", "candidates": [{"ad_id": "1", "bid": 1}]}', "user_id"),
        (b'{"user_id": "\\"", "user_id": "\\\\", "candidates": [{"ad_id": "\\\\\\"", "bid": 1}]}', "user_id"),
        # Whatever else is wrong.
        (b'{"nothing": 1, "nothing": 2}', "nothing"),
        (b'[{"a": {"b": [1, {"c": 1, "c": 2}]}}]', "0.a.b.1.c"),
        (b'{"user_id": {"x": NaN, "x": ' + b"9" * 4_000 + b"}}", "user_id.x"),
    ],
)
def test_a_key_that_is_there_twice_is_refused_and_named(service: RunningService, body: bytes, field: str) -> None:
    answer = service.rank(body)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:dinrank:problem:malformed-body")
    [error] = answer.json()["errors"]
    assert error["field"].endswith(field)
    assert error["message"] == "the key is there twice: send it once"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/behaviours", b'{"events": [' + EVENT + b'], "events": [' + EVENT + b"]}", "events"),
        ("/behaviours", b'{"events": [' + EVENT[:-1] + b', "user_id": "43"}]}', "events.0.user_id"),
        ("/playground/titles", b'{"item_ids": ["1"], "item_ids": ["2"]}', "item_ids"),
    ],
)
def test_no_route_takes_a_key_twice(service: RunningService, path: str, body: bytes, field: str) -> None:
    answer = service.request("POST", path, content=body, headers=JSON)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert service.get("/users/42").status_code == 404  # nothing was stored


@pytest.mark.parametrize("text", ["a:b", "::", '"', "\\", '\\"', '":', '{"a":1}', "é:", "\u2028:", '\\\\":'])
def test_what_looks_like_keys_in_strings_is_none(service: RunningService, text: str) -> None:
    body: dict[str, Any] = {"user_id": text, "candidates": [{"ad_id": text, "bid": 1.0, "features": {"genre": text}}]}
    for is_ascii in (True, False):
        assert service.rank(json.dumps(body, ensure_ascii=is_ascii).encode()).status_code == 200
