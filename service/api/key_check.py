"""Lets in who may come in, before anything of the body is read. Plain ASGI."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import PROBLEMS, service_problem
from service.errors import (
    Forbidden,
    HeadersTooLarge,
    MalformedRequest,
    NotAdmitted,
    NotImplementedHere,
    PipelineTooLong,
    RequestTimedOut,
    TooManyConnections,
    Unauthorised,
)
from service.exposure import is_loopback
from service.keys import KeyRing
from service.settings import Settings
from service.telemetry import Telemetry, declare

# Whoever asks these learns what the repository says anyway, and whether to send requests here. "/" is the playground's
# page without anything of users and items, which it asks for with a key.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
ADMIN_PREFIX = "/admin/"
USERS_PREFIX = "/users/"
# What "/" and "/docs" load: styles, scripts, pictures.
PAGE_PARTS_PREFIX, DOCS_PARTS_PREFIX = "/playground/parts/", "/docs/parts/"

_BEARER = b"bearer"
_BROWSERS = b"sec-fetch-site"  # all browsers send it, and no script in them can keep it back
# A browser adds the first for whatever page it shows, proxies the others for whomever they serve.
_HEADERS_OF_OTHERS = frozenset({b"origin", b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via"})


# All that `dinrank_turned_away_total` counts, here and in `service.protocol`.
_TURNED_AWAY = (
    Unauthorised,
    Forbidden,
    HeadersTooLarge,
    MalformedRequest,
    NotImplementedHere,
    RequestTimedOut,
    TooManyConnections,
    PipelineTooLong,
)


def is_for_admins(path: str, method: str) -> bool:
    """Whether it takes an admin key: operators' paths, and removing what is stored of a user."""
    return path.startswith(ADMIN_PREFIX) or (method == "DELETE" and path.startswith(USERS_PREFIX))


class KeyCheck:
    """Refuses requests without a key where one is needed: on all paths but the open ones when there is a file of keys.

    What is for admins has keys of its own. While there are none, it is for callers from this machine to a service that
    listens to this machine alone.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry
        declare(telemetry.turned_away, (PROBLEMS[error].name for error in _TURNED_AWAY))
        self._keys = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        self._admin_keys = KeyRing(settings.admin_keys_file) if settings.admin_keys_file else None
        self._serves_this_machine_alone = is_loopback(settings.host)
        self._is_for_this_machine_alone = self._serves_this_machine_alone and settings.anonymous != "allowed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        self._telemetry.turned_away.labels(PROBLEMS[type(refusal)].name).inc()
        await service_problem(Request(scope), refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> NotAdmitted | None:
        path: str = scope["path"]
        if is_for_admins(path, scope["method"]):
            return self._admin_refusal(scope)
        if self._keys is None:
            return self._page_refusal(scope)
        return None if _is_open(path) or _has_key(self._keys, scope["headers"]) else Unauthorised()

    def _page_refusal(self, scope: Scope) -> NotAdmitted | None:
        """Without keys, being on this machine is all that lets one in; a page of somebody else's shall not get by it.

        Such a page has a name of its own, which its owner makes to mean 127.0.0.1 once it is open ("DNS rebinding").
        """
        if self._is_for_this_machine_alone and _is_page_of_another_name(scope["headers"]):
            return Forbidden(
                "a page in a browser has to be opened as http://localhost or http://127.0.0.1; set "
                "DINRANK_API_KEYS_FILE, or DINRANK_ANONYMOUS=allowed if something else keeps strangers out"
            )
        return None

    def _admin_refusal(self, scope: Scope) -> NotAdmitted | None:
        if self._admin_keys is not None:
            return None if _has_key(self._admin_keys, scope["headers"]) else Unauthorised()
        if self._serves_this_machine_alone and _is_from_this_machine(scope):
            return None
        return Forbidden(
            "without a file of admin keys this is for callers on the service's own machine, when it listens to no "
            "other; set DINRANK_ADMIN_KEYS_FILE"
        )


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith((PAGE_PARTS_PREFIX, DOCS_PARTS_PREFIX))


def _has_key(keys: KeyRing, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Of a request with several keys none counts: two readers might see different ones."""
    sent = []
    for name, value in headers:
        if name == b"x-api-key":
            sent.append(value)
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            sent.append(key.strip() if scheme.lower() == _BEARER else b"")
    return len(sent) == 1 and keys.admits(sent[0])


def _is_page_of_another_name(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether a browser asks for a page, or for what one on it runs, under a name that is not this machine's own."""
    sent = dict(headers)
    if _BROWSERS not in sent:
        return False
    try:
        host = urlsplit(f"//{sent.get(b'host', b'').decode('latin-1')}").hostname
    except ValueError:
        return True
    return host is None or not is_loopback(host)


def _is_from_this_machine(scope: Scope) -> bool:
    """Not by way of a proxy, and not from a page in a browser, which may be anybody's."""
    client = scope["client"]
    if client is None or not is_loopback(client[0]):
        return False
    return _HEADERS_OF_OTHERS.isdisjoint(name for name, _ in scope["headers"])
