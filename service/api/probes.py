"""The port for probes: what orchestrators and Prometheus ask, and nothing else. Plain ASGI."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.errors import plain_problem
from service.api.middleware import new_request_id

PROBE_PATHS = frozenset({"/livez", "/readyz", "/metrics"})


class ProbesAlone:
    """Passes these on, keys and all else as on the other port, and knows no other path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBE_PATHS:
            await self._app(scope, receive, send)
            return
        scope["state"]["request_id"] = new_request_id()
        detail = f"this port has {', '.join(sorted(PROBE_PATHS))} alone"
        await plain_problem(Request(scope), HTTPStatus.NOT_FOUND, detail)(scope, receive, send)
