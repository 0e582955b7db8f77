"""The names under which callers reach this service: what Host and Origin may say.

Somebody else's page may come under a name that its owner makes to mean 127.0.0.1 once it is open ("DNS rebinding"). To
the browser such a page and this service are then one site; only the name gives it away.
"""

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache

_LAST_PORT = 65_535

_REMEMBERED = 128  # judgements; a caller may send any number of names

_NAME = re.compile(r"[0-9a-z_-]+(?:\.[0-9a-z_-]+)*")

# Nothing but what a client makes of a URL: no user, no dot at the end, no empty port, no zone of an IPv6 address.
_ADDRESS, _RAW_NAME = rb"\[([0-9a-f.]*:[0-9a-f:.]*)\]", rb"([0-9a-z_-]+(?:\.[0-9a-z_-]+)*)"

_HOST = re.compile(b"(?:" + _ADDRESS + b"|" + _RAW_NAME + rb")(?::([0-9]{1,5}))?", re.IGNORECASE)

_ORIGIN = re.compile(rb"https?://(.+)", re.IGNORECASE)


class OwnNames:
    """Loopback names and addresses, and those that the operator gave."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)
        self.has_host = lru_cache(_REMEMBERED)(self._has_host)
        self.has_origin = lru_cache(_REMEMBERED)(self._has_origin)

    def _has_host(self, value: bytes) -> bool:
        """Whether it is the value of a Host header with one of the names; the port may be any."""
        name = host_name(value)
        return name is not None and (is_loopback(name) or name in self._allowed)

    def _has_origin(self, value: bytes) -> bool:
        """The same for an Origin header. `null` has no name."""
        origin = _ORIGIN.fullmatch(value)
        return origin is not None and self._has_host(origin[1])


def host_name(value: bytes) -> str | None:
    """The name or address of a Host header, in lower case and without port and brackets; None for any odd value."""
    found = _HOST.fullmatch(value)
    if found is None or int(found[3] or 0) > _LAST_PORT:
        return None
    return (found[1] or found[2]).decode().lower()


def parse_host_names(text: str) -> tuple[str, ...]:
    """Names and addresses with commas between them. Raises: ValueError, which names the one that is neither."""
    return tuple(_host_name(each.strip().lower()) for each in text.split(",") if each.strip())


def spell_host_names(names: tuple[str, ...]) -> str:
    """What `parse_host_names` reads the same names from."""
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
    """Whether only this machine reaches a socket on `host`. Of names only `localhost` counts."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
