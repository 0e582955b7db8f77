"""Headers: one of a request by its name; those that every answer has, for browsers and caches."""

from starlette.types import Message, Scope


def header(scope: Scope, name: bytes) -> str:
    """The first value under a name in lower case; empty when there is none.

    starlette's `Headers` takes ten times as long to say that a header is missing, which most of those asked for are.
    """
    for sent, value in scope["headers"]:
        if sent == name:
            return str(value, "latin-1")
    return ""


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
