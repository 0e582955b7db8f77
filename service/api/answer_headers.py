"""Headers that every answer has: what browsers and caches may do with it."""

from starlette.types import Message

# Nothing is to be kept, and nothing is a script or a page, unless a route says otherwise.
NO_STORE, NO_SNIFF = (b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")
_NO_PAGE = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
OF_RANKINGS = (NO_SNIFF, NO_STORE)
OF_ALL_OTHERS = (*OF_RANKINGS, _NO_PAGE)


def page_headers(*, scripts: str = "", styles: str = "") -> dict[str, str]:
    """For a page that loads nothing from elsewhere, runs nothing that is written into it, and stands in no frame.

    Args:
        scripts, styles: further sources, as a Content-Security-Policy has them.
    """
    return {
        "Content-Security-Policy": f"default-src 'none'; script-src 'self'{scripts}; style-src 'self'{styles}; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",  # after an upgrade the parts fit together
    }


def with_headers(start: Message, headers: tuple[tuple[bytes, bytes], ...]) -> Message:
    """The beginning of an answer with those of `headers` that it lacks."""
    given = start["headers"]
    names = [name for name, _ in given]
    return {**start, "headers": [*given, *(each for each in headers if each[0] not in names)]}
