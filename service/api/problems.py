"""RFC 9457 problems: the one table from errors to answers, and the exception handlers that use it."""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.types import Scope, Send

from dinrank.service.api.headers import OF_RANKINGS
from dinrank.service.api.schemas import FieldError, Problem
from dinrank.service.errors import (
    BodyTooLarge,
    BundleRefused,
    DeadlineTooShort,
    ExplanationTooLarge,
    ExplanationUnavailable,
    FeatureStoreUnavailable,
    Forbidden,
    HeadersTooLarge,
    InvalidRequest,
    MalformedHeader,
    MalformedPath,
    MalformedRequest,
    ModelNotServed,
    NotImplementedHere,
    Overloaded,
    PipelineTooLong,
    PredictionFailed,
    RequestTimedOut,
    ServiceError,
    TemporarilyUnavailable,
    TooManyCandidates,
    TooManyConnections,
    Unauthorised,
    UnknownFeature,
    UnknownUser,
    UnsupportedEncoding,
)
from dinrank.service.telemetry.logs import log_event

REQUEST_ID_HEADER = "X-Request-ID"

INTERNAL = "internal-error"

MALFORMED = "malformed-body"

_MAX_ERRORS = 20  # faults listed in one problem; the rest are counted

_MAX_FIELD_LENGTH = 256  # a field's name may be the caller's own text


class ProblemKind(NamedTuple):
    """A kind of problem: its status and its name, which is also the outcome that is counted."""

    status: int
    name: str
    title: str


PROBLEMS: Mapping[type[ServiceError], ProblemKind] = {
    TooManyCandidates: ProblemKind(413, "too-many-candidates", "The request holds too many candidates"),
    ExplanationTooLarge: ProblemKind(413, "explanation-too-large", "The explanation would be too large"),
    BodyTooLarge: ProblemKind(413, "body-too-large", "The body is too large"),
    MalformedHeader: ProblemKind(422, "malformed-header", "A header is not what this endpoint takes"),
    HeadersTooLarge: ProblemKind(431, "headers-too-large", "The headers are too large"),
    MalformedRequest: ProblemKind(400, "malformed-request", "This is not HTTP as the service takes it"),
    MalformedPath: ProblemKind(404, "malformed-path", "No path is spelled like this"),
    UnsupportedEncoding: ProblemKind(415, "unsupported-encoding", "The body has an encoding that is not read here"),
    NotImplementedHere: ProblemKind(501, "not-implemented", "The service does without this part of HTTP"),
    RequestTimedOut: ProblemKind(408, "request-timeout", "The request did not arrive in time"),
    Unauthorised: ProblemKind(401, "unauthorised", "A key is needed"),
    Forbidden: ProblemKind(403, "forbidden", "Nobody may do this here"),
    TooManyConnections: ProblemKind(503, "too-many-connections", "The service keeps too many connections"),
    PipelineTooLong: ProblemKind(503, "pipeline-too-long", "Too many requests wait on this connection"),
    UnknownFeature: ProblemKind(400, "unknown-feature", "The model does not have such a feature"),
    ExplanationUnavailable: ProblemKind(400, "explanation-unavailable", "The model cannot explain its answers"),
    ModelNotServed: ProblemKind(400, "model-not-served", "No such model is served"),
    FeatureStoreUnavailable: ProblemKind(503, "feature-store-unavailable", "The feature store does not answer"),
    UnknownUser: ProblemKind(404, "unknown-user", "Nothing is stored of this user"),
    BundleRefused: ProblemKind(409, "bundle-refused", "The bundle is refused, and the one before serves on"),
    Overloaded: ProblemKind(503, "overloaded", "The service has more requests than it can answer"),
    DeadlineTooShort: ProblemKind(503, "deadline-too-short", "The caller does not wait long enough"),
    PredictionFailed: ProblemKind(500, "prediction-failed", "The model gave no usable answer"),
}

_MALFORMED_BODY = ProblemKind(422, MALFORMED, "The body is not what this endpoint takes")

_MALFORMED_PARAMETER = ProblemKind(422, "malformed-parameter", "A parameter is not what this endpoint takes")

# Replace Pydantic's messages where those mention Python types.
_MESSAGES = {
    "string_type": "Input should be text: a JSON string, in quotes",
    "model_attributes_type": "Input should be a JSON object",
    "dict_type": "Input should be a JSON object",
    "list_type": "Input should be a JSON array",
}


def install(app: FastAPI) -> None:
    """Turn every error into a problem answer."""
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_malformed_body)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(Exception, _on_unexpected)


def service_problem(request: Request, exc: ServiceError) -> Response:
    """Build the answer to an error that the service raised on purpose."""
    kind = PROBLEMS[type(exc)]
    headers = _headers_of(exc, kind)
    if kind.status == HTTPStatus.INTERNAL_SERVER_ERROR:  # a 503 per request would fill the log; they are counted
        log_event(logging.ERROR, kind.name, request_id=request.state.request_id, error=exc)
    return _problem(request, kind, detail=str(exc), errors=_field_errors_of(exc), headers=headers)


def plain_problem(request: Request, status: HTTPStatus, detail: str) -> Response:
    """Build the answer to a plain HTTP error."""
    return _problem(request, http_problem(status), detail=detail, type_="about:blank")


def service_problem_bytes(exc: ServiceError, request_id: str) -> bytes:
    """Build the raw HTTP answer to an error found before there was a request; it closes the connection."""
    kind = PROBLEMS[type(exc)]
    document = _document(kind, detail=str(exc), instance=f"#{request_id}", errors=_field_errors_of(exc))
    answer = _problem_response(
        document, {**_headers_of(exc, kind), REQUEST_ID_HEADER: request_id, "Connection": "close"}
    )
    head = [f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}".encode()]
    head += [name + b": " + value for name, value in answer.raw_headers]
    return b"\r\n".join([*head, b"", bytes(answer.body)])


def _headers_of(exc: ServiceError, kind: ProblemKind) -> dict[str, str]:
    if isinstance(exc, TemporarilyUnavailable):
        return {"Retry-After": str(exc.retry_after_s)}
    match kind.status:
        case HTTPStatus.UNAUTHORIZED:
            return {"WWW-Authenticate": 'Bearer realm="dinrank"'}
        case HTTPStatus.REQUEST_TIMEOUT:
            return {"Connection": "close"}  # the rest of the request may still arrive
        case HTTPStatus.UNSUPPORTED_MEDIA_TYPE:
            return {"Accept-Encoding": "identity"}
    return {}


def _field_errors_of(exc: ServiceError) -> list[FieldError]:
    return [FieldError(field=exc.field, message=str(exc))] if isinstance(exc, InvalidRequest) else []


async def _on_service_error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, ServiceError)
    return service_problem(request, exc)


async def _on_malformed_body(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, RequestValidationError)
    errors = _field_errors(exc)
    first = errors[0]
    detail = f"{first.field}: {first.message}" if first.field else first.message
    num_found = len(exc.errors())
    more = f" ({len(errors)} of at least {num_found} faults are listed)" if num_found > len(errors) else ""
    kind = _MALFORMED_BODY if exc.errors()[0]["loc"][0] == "body" else _MALFORMED_PARAMETER
    return _problem(request, kind, detail=detail + more, errors=errors)


def _field_errors(exc: RequestValidationError) -> list[FieldError]:
    if isinstance(exc.body, bytes):  # FastAPI leaves a body unparsed when its type is not JSON
        return [FieldError(field="", message="send a JSON object with the header Content-Type: application/json")]
    return [_field_error(error) for error in exc.errors()[:_MAX_ERRORS]]


def _field_error(error: Mapping[str, Any]) -> FieldError:
    if error["type"] == "json_invalid":
        return FieldError(field="", message=f"the body is not JSON: {error['ctx']['error']}")
    field = ".".join(str(step) for step in error["loc"][1:])[:_MAX_FIELD_LENGTH]  # without the leading "body"
    if error["type"] == "missing" and not field:
        return FieldError(field="", message="the body is empty")
    return FieldError(field=field, message=_MESSAGES.get(error["type"], error["msg"].removeprefix("Value error, ")))


def http_problem(status: HTTPStatus) -> ProblemKind:
    """Name the problem of a plain HTTP error."""
    return ProblemKind(status, status.phrase.lower().replace(" ", "-"), status.phrase)


async def _on_http_exception(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    kind = http_problem(HTTPStatus(exc.status_code))
    return _problem(request, kind, detail=str(exc.detail), type_="about:blank", headers=_with_head(exc.headers or {}))


def _with_head(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Add HEAD to the allowed methods where GET is one: the router does not know of it."""
    return {name: f"{value}, HEAD" if (name, value) == ("Allow", "GET") else value for name, value in headers.items()}


async def _on_unexpected(request: Request, exc: Exception) -> Response:
    """Answer a bug. The caller gets only the request id to report; the server logs the traceback itself."""
    log_event(logging.ERROR, INTERNAL, request_id=request.state.request_id, error=repr(exc))
    kind = ProblemKind(500, INTERNAL, "Internal Server Error")
    return _problem(request, kind, detail="an unexpected error; the service's log has this request's id")


def _problem(
    request: Request,
    kind: ProblemKind,
    *,
    detail: str,
    errors: Sequence[FieldError] = (),
    type_: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    request_id = request.state.request_id
    request.state.outcome = kind.name
    # Not request.url, which includes the Host header and is therefore under the caller's control.
    instance = f"{quote(request.scope['path'])}#{request_id}"
    document = _document(kind, detail=detail, instance=instance, errors=errors, type_=type_)
    return _problem_response(document, {**(headers or {}), REQUEST_ID_HEADER: request_id})


def _document(
    kind: ProblemKind, *, detail: str, instance: str, errors: Sequence[FieldError], type_: str | None = None
) -> Problem:
    return Problem(
        type=type_ or f"urn:dinrank:problem:{kind.name}",
        title=kind.title,
        status=kind.status,
        detail=detail,
        instance=instance,
        errors=list(errors),
    )


def _problem_response(document: Problem, headers: Mapping[str, str]) -> Response:
    # Set here too, as some problems do not pass through `RequestContext`.
    always = {name.decode(): value.decode() for name, value in OF_RANKINGS}
    return JSONResponse(
        document.model_dump(),
        status_code=document.status,
        media_type="application/problem+json",
        headers={**always, **headers},
    )


OK = "ok"

DEGRADED = "degraded"  # answered without a part of the input

ABANDONED = "abandoned"  # the caller hung up before there was an answer

# Refused by the framework itself on this path: another method, and a body that it cannot read.
_FRAMEWORK = (HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.BAD_REQUEST)

OUTCOMES = frozenset(
    {
        OK,
        DEGRADED,
        ABANDONED,
        INTERNAL,
        MALFORMED,
        *(kind.name for kind in PROBLEMS.values()),
        *(http_problem(status).name for status in _FRAMEWORK),
    }
)

_MARK = "the-id-of-the-request"


class Refusal:
    """Pre-rendered problem of one kind, split at the request id."""

    def __init__(self, path: str, exc: Overloaded | DeadlineTooShort) -> None:
        kind = PROBLEMS[type(exc)]
        scope = {"type": "http", "path": path, "headers": [], "query_string": b"", "state": {"request_id": _MARK}}
        whole = bytes(service_problem(Request(scope), exc).body)
        self._before_id, mark, self._after_id = whole.partition(_MARK.encode())
        assert mark, "a problem names its request"
        self._status = kind.status
        self._outcome = kind.name

    async def send(self, scope: Scope, send: Send, retry_after_s: int) -> None:
        """Send the same answer as `service_problem`. An outer layer adds the request id's header."""
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
