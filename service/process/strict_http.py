"""Strict HTTP/1.1 heads: only unambiguous ones are accepted, which every proxy in front reads alike.

Prevents request smuggling. httptools refuses most ambiguous heads (two lengths, bare line feeds, folded headers); here
are the rest.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

from dinrank.service.errors import HeadersTooLarge, MalformedRequest, NotImplementedHere

_PORT = rb"[0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"

# A name, an IPv4 or a bracketed IPv6 address. RFC 3986 allows more in a name, such as commas and quotes; none has them.
_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::(?:" + _PORT + rb"))?")

_VERSIONS = frozenset({"1.1", "1.0"})

# HTTP's own methods; the parser also knows those of WebDAV, RTSP and others. The routes decide which a path supports.
_METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"QUERY"})

_CODINGS = re.compile(rb"\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+\s*(?:,\s*[A-Za-z0-9!#$%&'*+.^_`|~-]+\s*)*")

_SPEAKS = "this service speaks HTTP/1.1 and HTTP/1.0"


def check_head(
    method: bytes, target: bytes, version: str, headers: Sequence[tuple[bytes, bytes]], *, max_bytes: int
) -> None:
    """Check a complete head after the parser.

    Args:
        headers: names in lower case.
        max_bytes: of target and headers together.

    Raises:
        HeadersTooLarge, MalformedRequest, NotImplementedHere
    """
    num_bytes = len(target)
    num_hosts, host = 0, b""
    codings: tuple[bytes, ...] = ()
    for name, value in headers:
        num_bytes += len(name) + len(value) + 4  # `: ` and the line's end
        if name == b"host":
            num_hosts += 1
            host = value
        elif name == b"transfer-encoding":
            codings = (*codings, value)
    if num_bytes > max_bytes:
        raise HeadersTooLarge(max_bytes)
    is_usual = version == "1.1" and num_hosts == 1 and not codings and method in _METHODS
    if is_usual and _is_plain(target, host):
        return  # the common case: the checks below explain faults and handle rare heads
    _check_rare(method, target, version, codings)
    _check_host(num_hosts, host, is_needed=version == "1.1")


def _check_rare(method: bytes, target: bytes, version: str, codings: Sequence[bytes]) -> None:
    if version not in _VERSIONS:
        raise MalformedRequest(_SPEAKS)
    _check_target(target)
    if codings:
        _check_codings(codings, version)
    if method not in _METHODS:
        raise NotImplementedHere("no path here has this method")


def _is_plain(target: bytes, host: bytes) -> bool:
    return target.startswith(b"/") and b"#" not in target and _is_host(host)


@lru_cache(maxsize=64)
def _is_host(value: bytes) -> bool:
    return _HOST.fullmatch(value) is not None


def refuse_version_0_9(version: str, *, has_target: bool, ends_line: bool) -> None:
    """Refuse an incomplete HTTP/0.9 head: it has only one line, and its caller waits for an answer.

    Args:
        version: from the parser, which reports 0.9 with the first byte of the next line, and 0.0 before.
        ends_line: True if the bytes received end with a line feed.

    Raises:
        MalformedRequest
    """
    if version == "0.9" or (version == "0.0" and has_target and ends_line):
        raise MalformedRequest(_SPEAKS)


def _check_target(target: bytes) -> None:
    """Refuse absolute targets, which are for proxies and name a second host, and fragments, which are for browsers."""
    if not target.startswith(b"/") or b"#" in target:
        raise MalformedRequest("its target has to be a path that begins with /, without # and what comes after it")


def _check_host(num_hosts: int, host: bytes, *, is_needed: bool) -> None:
    if num_hosts > 1 or (is_needed and not num_hosts):
        raise MalformedRequest(f"it has {num_hosts} Host headers; send one")
    if num_hosts and not _is_host(host):
        raise MalformedRequest("its Host header is not a name or address, with or without a port")


def _check_codings(codings: Sequence[bytes], version: str) -> None:
    if version != "1.1":
        raise MalformedRequest("HTTP/1.0 has no Transfer-Encoding; send a Content-Length")
    if len(codings) > 1 or not _CODINGS.fullmatch(codings[0]):
        raise MalformedRequest("it has no Transfer-Encoding that can be read in one way; send `chunked`, once")
    if codings[0].strip().lower() != b"chunked":
        raise NotImplementedHere("the only Transfer-Encoding here is `chunked`")
