"""Refusals under load: the same problems as everywhere, made once, so that to refuse costs next to nothing."""

from starlette.requests import Request
from starlette.types import Scope, Send

from service.api.errors import PROBLEMS, service_problem
from service.errors import DeadlineTooShort, Overloaded

_MARK = "the-id-of-the-request"


class Refusal:
    """One kind of problem, cut where the request's id stands."""

    def __init__(self, path: str, exc: Overloaded | DeadlineTooShort) -> None:
        kind = PROBLEMS[type(exc)]
        scope = {"type": "http", "path": path, "headers": [], "query_string": b"", "state": {"request_id": _MARK}}
        whole = bytes(service_problem(Request(scope), exc).body)
        self._before_id, mark, self._after_id = whole.partition(_MARK.encode())
        assert mark, "a problem names its request"
        self._status = kind.status
        self._outcome = kind.name

    async def send(self, scope: Scope, send: Send, retry_after_s: int) -> None:
        """What `service_problem` would answer. The request's id goes to the headers further out."""
        state = scope["state"]
        state["outcome"] = self._outcome
        body = b"".join((self._before_id, state["request_id"].encode(), self._after_id))
        headers = [
            (b"retry-after", b"%d" % retry_after_s),
            (b"content-length", b"%d" % len(body)),
            (b"content-type", b"application/problem+json"),
        ]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
