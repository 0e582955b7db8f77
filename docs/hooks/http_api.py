"""Page of the HTTP API, from the service's OpenAPI document and its table of problems."""

import json
from pathlib import Path
from typing import Any

from dinrank.service.api.problems import PROBLEMS
from dinrank.service.app import create_app
from dinrank.service.settings import Settings

_REFERENCE = "#/components/schemas/"


def http_page() -> str:
    document = create_app(Settings(bundle=Path("bundle"))).openapi()
    schemas = document["components"]["schemas"]
    lines = [
        "# HTTP",
        "",
        "From the OpenAPI document, which the service has at `/openapi.json`, and at `/docs` to look at and try.",
        "",
    ]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += _route(path, method, operation)
    lines += ["## Bodies", ""]
    for name, schema in schemas.items():
        lines += _body(name, schema)
    lines += ["## Problems", "", "Every refusal has an RFC 9457 body with `type`, `title`, `status` and `detail`.", ""]
    lines += ["| type | status | title |", "|---|---|---|"]
    lines += [f"| `{kind.name}` | {kind.status} | {kind.title} |" for kind in PROBLEMS.values()]
    return "\n".join([*lines, ""])


def _route(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    lines = [f"## {method.upper()} {path}", "", operation.get("description", ""), ""]
    for parameter in operation.get("parameters", ()):
        lines.append(f"- `{parameter['name']}` ({parameter['in']}): {parameter.get('description', '')}")
    body = _content(operation.get("requestBody", {}))
    if body:
        lines += ["", f"Takes {body}."]
    lines += ["", "| status | answer |", "|---|---|"]
    for status, response in operation["responses"].items():
        lines.append(f"| {status} | {_content(response) or _sentence(response['description'])} |")
    return [*lines, ""]


def _content(holder: dict[str, Any]) -> str:
    """Return the body's schema as a link to its section; empty for a body without one of ours."""
    for media in holder.get("content", {}).values():
        named = _type(media.get("schema", {}))
        if named.startswith("["):
            return named
    return ""


def _body(name: str, schema: dict[str, Any]) -> list[str]:
    lines = [f"### {name}", "", _sentence(schema.get("description", "")), ""]
    if "enum" in schema:
        return [*lines, "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".", ""]
    lines += ["| field | type | what it says |", "|---|---|---|"]
    for field, about in schema.get("properties", {}).items():
        star = ", required" if field in schema.get("required", ()) else ""
        default = f" Default `{json.dumps(about['default'])}`." if about.get("default") is not None else ""
        meaning = _sentence(about.get("description", ""))
        lines.append(f"| `{field}` | {_type(about)}{star}{_limits(about)} | {meaning}{default} |")
    for example in schema.get("examples", ())[:1]:
        lines += ["", "```json", json.dumps(example, indent=2, ensure_ascii=False), "```"]
    return [*lines, ""]


def _type(about: dict[str, Any]) -> str:
    if "$ref" in about:
        name = about["$ref"].removeprefix(_REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "anyOf" in about:
        return " or ".join(dict.fromkeys(_type(each) for each in about["anyOf"]))
    if about.get("type") == "array":
        return f"list of {_type(about.get('items', {}))}"
    return str(about.get("type", "any"))


def _limits(about: dict[str, Any]) -> str:
    words = {
        "minLength": "at least {} characters", "maxLength": "at most {} characters", "minItems": "at least {}",
        "maxItems": "at most {}", "minimum": "at least {}", "maximum": "at most {}", "exclusiveMinimum": "above {}",
        "maxProperties": "at most {} keys",
    }  # fmt: skip
    return "".join(f", {text.format(about[key])}" for key, text in words.items() if key in about)


def _sentence(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
