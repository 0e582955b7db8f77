"""A trace span around every ranking request. Plain ASGI middleware; installed only if tracing is on."""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dinrank.service.api.context import RANK_PATH
from dinrank.service.telemetry.spans import Tracing, describe

_METHOD = "POST"
# From the request's state, as the inner layers leave it, to span attributes.
_ATTRIBUTES = {
    "request_id": "dinrank.request_id",
    "outcome": "dinrank.outcome",
    "num_candidates": "dinrank.candidates",
    "model_version": "dinrank.model.version",
}


class RequestSpan:
    """Sits outside RequestContext, whose outcome it reads when the request is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"], scope["path"]) != (_METHOD, RANK_PATH):
            await self._app(scope, receive, send)
            return
        status: int | None = None

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        tracing: Tracing = scope["app"].state.tracing
        with tracing.request(f"{_METHOD} {RANK_PATH}", Headers(scope=scope)) as span:
            try:
                await self._app(scope, receive, send_and_note)
            except Exception:
                status = 500  # as the server answers, further out
                raise
            finally:
                state = scope.get("state", {})
                facts = {attribute: state[name] for name, attribute in _ATTRIBUTES.items() if name in state}
                describe(span, {"http.request.method": _METHOD, "http.route": RANK_PATH, **facts}, status=status)
