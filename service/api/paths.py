"""Paths of the service. Each has exactly one spelling, apart from a user id in it; any other spelling is refused.

Keys, admission and metrics match exact paths, the router matches patterns, and a proxy in front matches the raw path.
With a single spelling, no request can bypass one of them by being read differently by another.
"""

import re
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

ADMIN_PATH = "/admin"
USERS_PATH = "/users"
USERS_PREFIX = f"{USERS_PATH}/"
DOCS_PATH = "/docs"
# Static files of "/" and "/docs": styles, scripts, pictures.
PAGE_PARTS_PREFIX, DOCS_PARTS_PREFIX = "/playground/parts/", "/docs/parts/"

_RAW_USERS_PREFIX = USERS_PREFIX.encode()
# Control characters, ASCII and beyond, and other line separators.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def has_one_spelling(scope: Scope) -> bool:
    """Return True if the path has its canonical spelling: percent-encoding only in a user id, as UTF-8, and no control
    characters in any form.
    """
    raw: bytes = scope["raw_path"]
    if b"%" in raw and not _is_spelled_id(raw):
        return False
    return _CONTROL.search(scope["path"]) is None


def _is_spelled_id(raw: bytes) -> bool:
    if not raw.startswith(_RAW_USERS_PREFIX) or _NO_ESCAPE.search(raw):
        return False
    try:
        unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        return False  # all such ids would decode to the same one
    return True
