"""Routes that parse JSON strictly."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic_core import from_json
from starlette.exceptions import HTTPException

from dinrank.service.api.repeated_keys import REPEATED, has_keys, num_different_keys, repeated_key


class _StrictJsonRequest(Request):
    """Parses JSON strictly: no lone surrogates, no invalid UTF-8, limited nesting, and no duplicate keys, on which
    parsers differ.
    """

    fault: RequestValidationError | None = None  # found in syntactically valid JSON

    async def json(self) -> Any:
        body = await self.body()
        try:
            # NaN and Infinity pass here, so that the schema can name their field.
            document = from_json(body, allow_inf_nan=True)
        except ValueError as exc:
            raise json.JSONDecodeError(str(exc), doc="", pos=0) from exc
        if not has_keys(body, num_different_keys(document)) and (place := repeated_key(body)) is not None:
            self.fault = RequestValidationError([{"type": "repeated_key", "loc": ("body", *place), "msg": REPEATED}])
            raise self.fault
        return document


class StrictJsonRoute(APIRoute):
    """A route whose body is parsed strictly."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_strictly(request: Request) -> Response:
            strict = _StrictJsonRequest(request.scope, request.receive)
            try:
                return await handle(strict)
            except HTTPException:  # FastAPI raises it for any error of `json` that it does not know
                if strict.fault is None:
                    raise
                raise strict.fault from None

        return handle_strictly
