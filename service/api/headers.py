"""HTTP headers: lookup in a request, and the security and cache headers of every answer."""

from starlette.types import Message, Scope


def header(scope: Scope, name: bytes) -> str:
    """Return the first value of a header, by its name in lower case; empty if it is missing.

    starlette's `Headers` takes ten times as long for a missing header, which is the usual case.
    """
    for sent, value in scope["headers"]:
        if sent == name:
            return str(value, "latin-1")
    return ""


# By default no answer is cached, or treated as a script or a page; routes may override this.
NO_STORE, NO_SNIFF = (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")

_NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")

OF_RANKINGS = (NO_SNIFF, NO_STORE)

OF_ALL_OTHERS = (*OF_RANKINGS, _NO_PAGE)


def page_headers(*, scripts: str = "", styles: str = "") -> dict[str, str]:
    """Headers of a page that loads nothing from other hosts, runs no inline script, and cannot be framed.

    Args:
        scripts, styles: further sources, in Content-Security-Policy syntax.
    """
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # after an upgrade the parts fit together
    }


def with_headers(start: Message, headers: tuple[tuple[bytes, bytes], ...]) -> Message:
    """Return `start` with those of `headers` that it lacks."""
    given = start["headers"]
    names = [name for name, _ in given]
    return {**start, "headers": [*given, *(each for each in headers if each[0] not in names)]}
