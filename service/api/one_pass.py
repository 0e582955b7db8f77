"""POST /rank as most callers send it, answered without FastAPI. Plain ASGI."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.answers import rank_answer
from service.api.bodies import read_task
from service.api.errors import service_problem
from service.api.headers import header
from service.api.middleware import RANK_PATH, replay
from service.errors import ServiceError

_JSON = "application/json"


class OnePass:
    """Answers ranking requests whose body is flawless, and leaves all others to the route behind.

    The route gives the same answers. It reads a body in two passes, JSON first and the schema then, and explains what
    is wrong with one; and it is what the documents are made of. Stands inside of BodyLimit, which reads whole bodies.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _is_ranking(scope):
            await self._app(scope, receive, send)
            return
        message = await receive()
        body: bytes = message["body"]
        task = read_task(body, scope["state"]["request_id"])
        if task is None:
            await self._app(scope, replay(body, receive), send)
            return
        try:
            answer = await rank_answer(task, scope["state"], scope["app"].state.line_up)
        except ServiceError as exc:
            await service_problem(Request(scope), exc)(scope, receive, send)
            return
        head = [(b"content-length", str(len(answer)).encode()), (b"content-type", _JSON.encode())]
        await send({"type": "http.response.start", "status": HTTPStatus.OK, "headers": head})
        await send({"type": "http.response.body", "body": answer})


def _is_ranking(scope: Scope) -> bool:
    """By the type that callers send; FastAPI knows of others that are JSON too."""
    return (
        scope["type"] == "http"
        and scope["path"] == RANK_PATH
        and scope["method"] == "POST"
        and header(scope, b"content-type").partition(";")[0] == _JSON
    )
