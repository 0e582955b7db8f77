"""Errors of the service, and who has to act.

ServiceError
├── InvalidRequest              the caller has to change the request
│   ├── TooManyCandidates
│   ├── ExplanationTooLarge
│   ├── BodyTooLarge
│   ├── MalformedHeader
│   ├── HeadersTooLarge
│   ├── MalformedRequest
│   ├── MalformedPath
│   ├── UnsupportedEncoding
│   ├── NotImplementedHere
│   ├── RequestTimedOut
│   ├── UnknownFeature
│   ├── ExplanationUnavailable
│   └── ModelNotServed
├── NotAdmitted                 the caller needs a key or another name, or the operator has to set one
│   ├── Unauthorised
│   └── Forbidden
├── TemporarilyUnavailable      the caller may retry later
│   ├── FeatureStoreUnavailable
│   ├── Overloaded
│   ├── DeadlineTooShort
│   ├── TooManyConnections
│   └── PipelineTooLong
├── UnknownUser                 the caller asks for another one, or nobody has to act
├── BundleRefused               the operator has to fix or roll back the bundle
└── PredictionFailed            the operator has to check the bundle

CallerLeft is separate: nobody is left to get an answer.
"""

import math
from collections.abc import Sequence
from enum import StrEnum


class ServiceError(Exception):
    """Base of all errors that the service raises on purpose."""


class InvalidRequest(ServiceError):
    """The request cannot be answered as sent.

    Attributes:
        field: path of the fault in the body, `candidates` for instance; empty for the body itself.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class TooManyCandidates(InvalidRequest):
    """The request holds more candidates than one request may carry."""

    def __init__(self, count: int, limit: int) -> None:
        super().__init__(f"{count} candidates sent, at most {limit} are scored per request", field="candidates")


class ExplanationTooLarge(InvalidRequest):
    """The explanation would hold more weights than one answer may carry. Nothing was scored."""

    def __init__(self, num_ads: int, num_behaviours: int, limit: int) -> None:
        advice = "rank without `explain`"
        if num_behaviours <= limit:
            advice = f"ask for a `top_k` of at most {limit // num_behaviours}"
        super().__init__(
            f"{num_ads} ads x {num_behaviours} behaviours are {num_ads * num_behaviours} weights, at most {limit} are "
            f"explained per request; {advice}",
            field="explain",
        )


class BodyTooLarge(InvalidRequest):
    """The body is larger than one request may be."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {limit_bytes} bytes")


class MalformedHeader(InvalidRequest):
    """A header has an invalid value; `field` is its name."""

    def __init__(self, name: str, takes: str) -> None:
        super().__init__(f"the header {name} takes {takes}", field=name)


class HeadersTooLarge(InvalidRequest):
    """Request line and headers are larger than allowed."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"request line and headers are larger than {limit_bytes} bytes")


class MalformedRequest(InvalidRequest):
    """Not valid HTTP/1.1, or ambiguous HTTP."""


class MalformedPath(InvalidRequest):
    """The path is not in its canonical spelling."""

    def __init__(self) -> None:
        super().__init__(
            "no path here has control characters, and none is percent-encoded but the id in /users/{user_id}, in UTF-8"
        )


class UnsupportedEncoding(InvalidRequest):
    """The body has a Content-Encoding."""

    def __init__(self) -> None:
        super().__init__("bodies are read as they are: send none with Content-Encoding", field="Content-Encoding")


class NotImplementedHere(InvalidRequest):
    """A part of HTTP that the service does not support."""


class RequestTimedOut(InvalidRequest):
    """The request did not arrive completely in time."""

    def __init__(self, part: str, limit_ms: int) -> None:
        super().__init__(f"the {part} did not arrive within {limit_ms} ms; send the request again, at once")


class UnknownFeature(InvalidRequest):
    """The request names a feature that the model lacks, or gives it a value of the wrong shape."""


class ExplanationUnavailable(InvalidRequest):
    """The model has no activation unit, so there are no weights to explain with."""

    def __init__(self, model_name: str) -> None:
        super().__init__(f"model {model_name!r} has no activation weights", field="explain")


class ModelNotServed(InvalidRequest):
    """The request names a model that is not, or no longer, served."""

    def __init__(self, version: str, served: Sequence[str]) -> None:
        super().__init__(f"model {version!r} is not served here; these are: {', '.join(served)}", field="model")


class NotAdmitted(ServiceError):
    """The caller may not do this."""


class Unauthorised(NotAdmitted):
    """No valid key was sent. The message never repeats the key."""

    def __init__(self, needed: str = "one of the service's keys") -> None:
        super().__init__(f"send {needed} as `Authorization: Bearer KEY` or as `X-API-Key: KEY`")


class Forbidden(NotAdmitted):
    """The request used a foreign host name or came from a foreign page; the message names the setting."""


class TemporarilyUnavailable(ServiceError):
    """The same request may succeed later.

    Attributes:
        retry_after_s: seconds after which a retry is worthwhile; at least 1.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(wait_s))


class StoreFailure(StrEnum):
    """Reason why the feature store gave no data."""

    TIMEOUT = "timeout"  # no complete answer within the store's own timeout
    UNREACHABLE = "unreachable"  # no connection, or it broke
    REFUSED = "refused"  # it refused: a wrong login, a missing permission, out of memory
    MALFORMED = "malformed"  # not an answer of Redis: another program, or replies out of step
    DEADLINE = "deadline"  # not within the caller's deadline
    BREAKER = "breaker"  # not called, because the circuit is open


class FeatureStoreUnavailable(TemporarilyUnavailable):
    """The feature store refused, did not answer in time, or was not called."""

    def __init__(self, message: str, kind: StoreFailure) -> None:
        super().__init__(message)
        self.kind = kind


class Overloaded(TemporarilyUnavailable):
    """Load shedding: more requests wait than can be answered in time. Nothing was scored."""

    def __init__(self, *, wait_s: float = 0.0) -> None:
        super().__init__("more requests wait than can be answered in time; try again after Retry-After", wait_s=wait_s)


class DeadlineTooShort(TemporarilyUnavailable):
    """The caller's deadline is too short for an answer. Scoring that had not started by then is skipped."""

    def __init__(self, *, wait_s: float = 0.0) -> None:
        super().__init__(
            "the time that X-Deadline-Ms leaves is too short for an answer; allow more, or try again after Retry-After",
            wait_s=wait_s,
        )


class UnknownUser(ServiceError):
    """Nothing is stored about this user."""

    def __init__(self) -> None:
        super().__init__("nothing is stored of this user; publish a dataset or send behaviours first")


class BundleRefused(ServiceError):
    """The new bundle failed verification; the previous one goes on serving."""


class TooManyConnections(TemporarilyUnavailable):
    """The worker has reached its connection limit; this connection was closed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this worker keeps {limit} connections already; close idle ones, or try again later")


class PipelineTooLong(TemporarilyUnavailable):
    """Too many pipelined requests wait on one connection; those before were answered."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} requests wait on this connection; read answers before you send more")


class PredictionFailed(ServiceError):
    """The graph's output is not a CTR, NaN for instance. Nothing is ranked by it."""


class CallerLeft(Exception):
    """The caller hung up before the scoring began, so that nothing was scored."""
