"""Every path has one spelling, the id of a user in it apart. What is spelled otherwise is no path of this service.

Keys, admission and metrics go by exact paths, the router by patterns, and a proxy in front by whatever was sent. None
of them can be got past by a spelling that another one reads differently, as there is no such spelling.
"""

import re
from urllib.parse import unquote_to_bytes

from starlette.types import Scope

ADMIN_PATH = "/admin"
USERS_PATH = "/users"
USERS_PREFIX = f"{USERS_PATH}/"
DOCS_PATH = "/docs"
# What "/" and "/docs" load: styles, scripts, pictures.
PAGE_PARTS_PREFIX, DOCS_PARTS_PREFIX = "/playground/parts/", "/docs/parts/"

_RAW_USERS_PREFIX = USERS_PREFIX.encode()
# Control characters of ASCII and beyond, and whatever else begins a new line.
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")


def has_one_spelling(scope: Scope) -> bool:
    """Whether the path is spelled as this service spells it: percent-encoded in a user's id alone, in UTF-8, without
    control characters in whatever form.
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
        return False  # all such would be read as one and the same id
    return True
