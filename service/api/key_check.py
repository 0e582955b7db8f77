"""Authentication by API key, before any of the body is read. Plain ASGI middleware."""

from collections.abc import Iterable

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from dinrank.service.access.keys import KeyRing, OneKey
from dinrank.service.access.own_names import OwnNames
from dinrank.service.api.paths import ADMIN_PATH, DOCS_PARTS_PREFIX, PAGE_PARTS_PREFIX, USERS_PATH, has_one_spelling
from dinrank.service.api.problems import PROBLEMS, service_problem
from dinrank.service.errors import (
    Forbidden,
    HeadersTooLarge,
    MalformedPath,
    MalformedRequest,
    NotAdmitted,
    NotImplementedHere,
    PipelineTooLong,
    RequestTimedOut,
    TooManyConnections,
    Unauthorised,
)
from dinrank.service.settings import Settings
from dinrank.service.telemetry.metrics import Telemetry, declare

# These reveal only what the repository says anyway, and whether to send requests here. "/" is the playground's page
# without data of users and items; it fetches those with a key.
OPEN_PATHS = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})

_BEARER = b"bearer"

Headers = Iterable[tuple[bytes, bytes]]

_ADMIN_KEY = (
    "an admin key (one of DINRANK_ADMIN_KEYS_FILE or, where that is not set, the token in the file that the service's "
    "log names at its start)"
)
_ANOTHER_NAME = (
    "this service is asked as http://localhost or http://127.0.0.1, and by no page of another name; let "
    "DINRANK_ALLOWED_HOSTS name the hosts that are its own"
)
# Everything that `dinrank_turned_away_total` counts, here and in `dinrank.service.process.protocol`.
_TURNED_AWAY = (
    Unauthorised,
    Forbidden,
    MalformedPath,
    HeadersTooLarge,
    MalformedRequest,
    NotImplementedHere,
    RequestTimedOut,
    TooManyConnections,
    PipelineTooLong,
)


def is_for_admins(path: str, method: str) -> bool:
    """Return True if the request needs an admin key: operators' paths, and deleting a user's data."""
    return path.startswith(ADMIN_PATH) or (method == "DELETE" and path.startswith(USERS_PATH))


class KeyCheck:
    """Refuses malformed paths, and requests without a required key. With a key file, every path but the open ones
    needs a key; admin paths always need one of the separate admin keys.

    Without keys, any client on this machine has access. The Host header must then name this machine, so that a foreign
    web page cannot get in through a browser that runs here (DNS rebinding).

    Args:
        admin_token: digest of the only admin key if no file of admin keys is set. Without either nobody is an admin.
    """

    def __init__(self, app: ASGIApp, *, settings: Settings, telemetry: Telemetry, admin_token: bytes | None) -> None:
        self._app = app
        self._telemetry = telemetry
        declare(telemetry.turned_away, (PROBLEMS[error].name for error in _TURNED_AWAY))
        self._keys = KeyRing(settings.api_keys_file) if settings.api_keys_file else None
        self._admin_keys = KeyRing(settings.admin_keys_file) if settings.admin_keys_file else OneKey(admin_token)
        self._own_names = OwnNames(settings.allowed_hosts) if _looks_at_names(settings) else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        self._telemetry.turned_away.labels(PROBLEMS[type(refusal)].name).inc()
        await service_problem(Request(scope), refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> NotAdmitted | MalformedPath | None:
        path, headers = scope["path"], scope["headers"]
        if not has_one_spelling(scope):
            return MalformedPath()
        if self._own_names is not None and not _is_for(self._own_names, headers):
            return Forbidden(_ANOTHER_NAME)
        if is_for_admins(path, scope["method"]):
            return None if self._is_admin(headers) else Unauthorised(_ADMIN_KEY)
        if self._keys is None or _is_open(path) or _has_key(headers, self._keys):
            return None
        return Unauthorised()

    def _is_admin(self, headers: Headers) -> bool:
        """Return True for an admin key. An API key never counts as one, even if it is in both files."""
        if self._keys is not None and _has_key(headers, self._keys):
            return False
        return _has_key(headers, self._admin_keys)


def _looks_at_names(settings: Settings) -> bool:
    """Host names are not checked where keys are needed, as a foreign page has none, or where access is open to all."""
    is_for_this_machine = settings.api_keys_file is None and settings.anonymous != "allowed"
    return bool(settings.allowed_hosts) or is_for_this_machine


def _is_for(names: OwnNames, headers: Headers) -> bool:
    """Return True if exactly one Host header names this service and no Origin is foreign."""
    num_hosts = 0
    for name, value in headers:
        if name == b"host":
            num_hosts += 1
            if not names.has_host(value):
                return False
        elif name == b"origin" and not names.has_origin(value):
            return False
    return num_hosts == 1


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith((PAGE_PARTS_PREFIX, DOCS_PARTS_PREFIX))


def _has_key(headers: Headers, keys: KeyRing | OneKey) -> bool:
    """A request with several keys has none: two readers might see different ones."""
    sent = []
    for name, value in headers:
        if name == b"x-api-key":
            sent.append(value)
        elif name == b"authorization":
            scheme, _, key = value.partition(b" ")
            sent.append(key.strip() if scheme.lower() == _BEARER else b"")
    return len(sent) == 1 and keys.admits(sent[0])
