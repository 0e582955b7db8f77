"""Protection against DNS rebinding: the names of this service that Host and Origin may hold.

The owner of a foreign page can make its name resolve to 127.0.0.1 once it is open. To the browser, the page and this
service are then the same site; only the name reveals the page.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

_LAST_PORT = 65_535

_REMEMBERED = 128  # cached results; a caller may send any number of names

_NAME = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")

# Only forms that clients derive from a URL: no user, no trailing dot, no empty port, no zone of an IPv6 address.
_ADDRESS, _RAW_NAME = rb"\[([0-9a-f.]*:[0-9a-f:.]*)\]", rb"([0-9a-z_-]+(?:\.[0-9a-z_-]+)*)"

_HOST = re.compile(b"(?:" + _ADDRESS + b"|" + _RAW_NAME + rb")(?::([0-9]{1,5}))?", re.IGNORECASE)

_ORIGIN = re.compile(rb"https?://(.+)", re.IGNORECASE)


class OwnNames:
    """Loopback names and addresses, and those configured by the operator."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)
        self.has_host = lru_cache(_REMEMBERED)(self._has_host)
        self.has_origin = lru_cache(_REMEMBERED)(self._has_origin)

    def _has_host(self, value: bytes) -> bool:
        """Return True for a Host header with one of the names and any port."""
        name = host_name(value)
        return name is not None and (is_loopback(name) or name in self._allowed)

    def _has_origin(self, value: bytes) -> bool:
        """Return True for an Origin header with one of the names and any port. `null` has no name."""
        origin = _ORIGIN.fullmatch(value)
        return origin is not None and self._has_host(origin[1])


def host_name(value: bytes) -> str | None:
    """Return the name or address in a Host header, in lower case, without port and brackets; None if malformed."""
    found = _HOST.fullmatch(value)
    if found is None or int(found[3] or 0) > _LAST_PORT:
        return None
    return (found[1] or found[2]).decode().lower()


def parse_host_names(text: str) -> tuple[str, ...]:
    """Parse comma-separated names and addresses. Raises: ValueError, which names the invalid one."""
    return tuple(_host_name(each.strip().lower()) for each in text.split(",") if each.strip())


def spell_host_names(names: tuple[str, ...]) -> str:
    """Return the text for `parse_host_names`: its inverse."""
    return ",".join(names)


def _host_name(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        if _NAME.fullmatch(text):
            return text
    raise ValueError(
        f"{text!r} is no host: give names or addresses without scheme, port, wildcard or dot at the end, with commas "
        "between them"
    )


def is_loopback(host: str) -> bool:
    """Return True if only this machine can reach a socket on `host`. The only such name is `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
