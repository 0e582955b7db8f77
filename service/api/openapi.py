"""The OpenAPI document and its page: problems, keys, and a page that loads no scripts from other hosts."""

import base64
import hashlib
import re
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

from dinrank.service.api.headers import page_headers
from dinrank.service.api.key_check import OPEN_PATHS, is_for_admins
from dinrank.service.api.paths import DOCS_PARTS_PREFIX
from dinrank.service.api.schemas import Problem
from dinrank.service.settings import Settings


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe error answers for OpenAPI. Inlined, as FastAPI would file a model under application/json."""
    schema = Problem.model_json_schema(mode="serialization")
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["FieldError"]
    content = {"application/problem+json": {"schema": schema}}
    return {status: {"description": "A problem, RFC 9457.", "content": content} for status in statuses}


_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "One of the service's keys; below `/admin`, and to remove users, of its admin keys.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, another header."},
}


def document_keys(app: FastAPI, settings: Settings) -> None:
    """Add both ways to send a key, and the 401 without one, to the document of `app` where a key is needed."""
    needs_key = settings.api_keys_file is not None
    of_routes = app.openapi

    def with_keys() -> dict[str, Any]:
        document = of_routes()
        document["components"]["securitySchemes"] = _SCHEMES
        for path, operations in document["paths"].items():
            for method, operation in operations.items():
                if is_for_admins(path, method.upper()) or (needs_key and path not in OPEN_PATHS):
                    operation["security"] = [{name: []} for name in _SCHEMES]
                    operation["responses"] |= {"401": problems(401)[401]}
        return document

    app.openapi = with_keys  # type: ignore[method-assign]  # FastAPI's documented way to extend it


_WRITTEN_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)


def install_page(app: FastAPI, path: str) -> None:
    """Serve the documentation page at `path`. Its inline scripts are allowed by their hashes."""
    assert app.openapi_url is not None
    page = get_swagger_ui_html(
        openapi_url=app.openapi_url,
        title=app.title,
        swagger_js_url=f"{DOCS_PARTS_PREFIX}swagger-ui-bundle.js",
        swagger_css_url=f"{DOCS_PARTS_PREFIX}swagger-ui.css",
        swagger_favicon_url=f"{DOCS_PARTS_PREFIX}favicon.png",
    )
    content = bytes(page.body)
    scripts = "".join(f" '{_hash_source(script)}'" for script in _WRITTEN_SCRIPT.findall(content))
    headers = page_headers(scripts=scripts)

    async def docs() -> HTMLResponse:
        return HTMLResponse(content, headers=headers)

    app.add_api_route(path, docs, methods=["GET"], include_in_schema=False)


def _hash_source(script: bytes) -> str:
    """Return the Content-Security-Policy source of an inline script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script).digest()).decode()}"
