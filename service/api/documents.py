"""What the OpenAPI document says beyond the routes: that keys are needed."""

from typing import Any

from fastapi import FastAPI

from service.api.key_check import OPEN_PATHS, is_for_admins
from service.api.routes import problems
from service.settings import Settings

_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the service's keys; below `/admin`, and to remove users, of its admin keys.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, another header."},
}


def document_keys(app: FastAPI, settings: Settings) -> None:
    """Have the document of `app` name both ways to send a key, and the 401 without one, where one is needed."""
    needed = {False: settings.api_keys_file is not None, True: settings.admin_keys_file is not None}
    if not any(needed.values()):
        return
    of_routes = app.openapi

    def with_keys() -> dict[str, Any]:
        document = of_routes()
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if path not in OPEN_PATHS and needed[is_for_admins(path, method.upper())]:
                    operation["security"] = [{name: []} for name in _SCHEMES]
                    operation["responses"] |= {"401": problems(401)[401]}
        return document

    app.openapi = with_keys  # type: ignore[method-assign]  # FastAPI's documented way to extend it
