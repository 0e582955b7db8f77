"""Routes that read JSON as the standard has it."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic_core import from_json


class _StrictJsonRequest(Request):
    """Reads JSON as the standard has it: no lone surrogates, no bytes that are not UTF-8, no bottomless nesting."""

    async def json(self) -> Any:
        body = await self.body()
        try:
            # NaN and Infinity pass here, so that the schema can name the field they stand in.
            return from_json(body, allow_inf_nan=True)
        except ValueError as exc:
            raise json.JSONDecodeError(str(exc), doc="", pos=0) from exc


class StrictJsonRoute(APIRoute):
    """A route whose body is read so."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            return await handle(_StrictJsonRequest(request.scope, request.receive))

        return handle_strictly
