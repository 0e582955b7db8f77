"""Strangers who try what they may not, and files of keys that change under load."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from tests.chaos.beside import beside
from tests.chaos.fault import Fault
from tests.chaos.ground import HOST, KEY, KEYS_FILE, Ground, wait_until

_OWN, _FOREIGN = "localhost", "evil.test"
_JSON = "application/json"
_RANKING = json.dumps({"user_id": "1", "candidates": [{"ad_id": "1", "bid": 1.0}]}).encode()
_TWICE = _RANKING[:-1] + b', "user_id": "2"}'
_PAUSE_S = 0.005
_BYTE_S = 0.02  # between two bytes of the file
_NEW = "n" * 64
# Method, path, Host, further headers, body, and the status that each has to get.
_TRIES = (
    ("GET", "/users/1", _FOREIGN, {}, None, 403),
    ("GET", "/metrics", _OWN, {"Origin": f"http://{_FOREIGN}"}, None, 403),
    ("POST", "/behaviours", _OWN, {"Origin": "null", "Content-Type": _JSON}, b'{"events": []}', 403),
    ("DELETE", "/users/1", _OWN, {}, None, 401),
    ("POST", "/admin/reload", _OWN, {"X-API-Key": KEY}, b"", 401),
    ("POST", "/rank%0a", _OWN, {"Content-Type": _JSON}, _RANKING, 404),
    ("GET", "/metric%73", _OWN, {}, None, 404),
    ("POST", "/rank", _OWN, {"Content-Type": _JSON, "Content-Encoding": "gzip"}, _RANKING, 415),
    ("POST", "/rank", _OWN, {"Content-Type": _JSON}, _TWICE, 422),
)


@contextmanager
def _strangers(ground: Ground) -> Iterator[None]:
    """Each gets its refusal, and nobody else notices."""
    wrong: Counter[str] = Counter()

    def try_all(over: threading.Event) -> None:
        while not over.wait(_PAUSE_S):
            for method, path, host, headers, body, expected in _TRIES:
                status = _status(ground.service.port, method, path, {"Host": host, **headers}, body)
                wrong[f"{method} {path} of {host} got {status}, not {expected}"] += status != expected

    before = ground.service.metric('dinrank_turned_away_total{problem="malformed-path"}')
    with beside(try_all):
        yield
    after = ground.service.metric('dinrank_turned_away_total{problem="malformed-path"}')
    ground.expect(after > before, "odd paths are counted")
    ground.expect(not +wrong, f"strangers are refused, and not: {dict(+wrong)}")


@contextmanager
def _keys_rewritten(ground: Ground) -> Iterator[None]:
    """Byte by byte, with another key in front of the callers': theirs is never shut out, and no stump is let in."""
    file = ground.directory / KEYS_FILE
    admitted: Counter[int] = Counter()

    def write(over: threading.Event) -> None:
        while not over.is_set():
            with file.open("w", encoding="ascii", buffering=1) as writing:
                for character in f"{_NEW}\n{KEY}\n":
                    writing.write(character)
                    writing.flush()
                    time.sleep(_BYTE_S)
            for length in (16, 20, 32, 63):
                stump = {"Host": _OWN, "X-API-Key": _NEW[:length]}
                admitted[length] += _status(ground.service.port, "GET", "/model", stump, None) != 401

    with beside(write):
        yield
    ground.expect(not +admitted, f"no stump of a key is admitted, and not: {dict(+admitted)}")
    new = {"Host": _OWN, "X-API-Key": _NEW}
    wait_until(lambda: _status(ground.service.port, "GET", "/model", new, None) == 200, "the new key is accepted")


def _status(port: int, method: str, path: str, headers: dict[str, str], body: bytes | None) -> int:
    """Of a connection of its own, so that every worker is asked."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30.0)
    try:
        connection.request(method, path, body, headers)
        return connection.getresponse().status
    finally:
        connection.close()


ACCESS_FAULTS = (
    Fault("strangers who try names, paths and admin routes", _strangers, lasts_s=3.0, quick=True),
    Fault(
        "a file of keys rewritten byte by byte",
        _keys_rewritten,
        lasts_s=5.0,
        settings={"DINRANK_API_KEYS_FILE": f"{{home}}/{KEYS_FILE}"},
    ),
)
