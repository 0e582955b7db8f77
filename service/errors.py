"""What can go wrong while scoring, and who has to act.

ServiceError
├── InvalidRequest              the caller changes the request
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
├── NotAdmitted                 the caller shows a key or uses another name, or the operator sets one
│   ├── Unauthorised
│   └── Forbidden
├── TemporarilyUnavailable      the caller tries again later
│   ├── FeatureStoreUnavailable
│   ├── Overloaded
│   ├── DeadlineTooShort
│   ├── TooManyConnections
│   └── PipelineTooLong
├── UnknownUser                 the caller asks for another one, or nobody has to act
├── BundleRefused               the operator mends or takes back the bundle
└── PredictionFailed            the operator looks at the bundle

CallerLeft stands apart: nobody is left to be told.
"""

import math
from collections.abc import Sequence
from enum import StrEnum


class ServiceError(Exception):
    """Root of everything that the service raises on purpose."""


class InvalidRequest(ServiceError):
    """The request cannot be answered as it was sent.

    Attributes:
        field: where in the body the fault lies, `candidates` for instance; empty when it is the body itself.
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
    """A header does not have a value that it may have; `field` is its name."""

    def __init__(self, name: str, takes: str) -> None:
        super().__init__(f"the header {name} takes {takes}", field=name)


class HeadersTooLarge(InvalidRequest):
    """Request line and headers are larger than one request's may be."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"request line and headers are larger than {limit_bytes} bytes")


class MalformedRequest(InvalidRequest):
    """What came is no HTTP/1.1, or is HTTP that two readers could understand differently."""


class MalformedPath(InvalidRequest):
    """The path is spelled as no path of this service is."""

    def __init__(self) -> None:
        super().__init__(
            "no path here has control characters, and none is percent-encoded but the id in /users/{user_id}, in UTF-8"
        )


class UnsupportedEncoding(InvalidRequest):
    """The body is compressed, or encoded in another way."""

    def __init__(self) -> None:
        super().__init__("bodies are read as they are: send none with Content-Encoding", field="Content-Encoding")


class NotImplementedHere(InvalidRequest):
    """A part of HTTP that the service does without."""


class RequestTimedOut(InvalidRequest):
    """The request did not arrive whole in time."""

    def __init__(self, part: str, limit_ms: int) -> None:
        super().__init__(f"the {part} did not arrive within {limit_ms} ms; send the request again, at once")


class UnknownFeature(InvalidRequest):
    """The request names a feature that the model lacks, or gives it a value of the wrong shape."""


class ExplanationUnavailable(InvalidRequest):
    """The model has no activation unit, so there are no weights to explain with."""

    def __init__(self, model_name: str) -> None:
        super().__init__(f"model {model_name!r} has no activation weights", field="explain")


class ModelNotServed(InvalidRequest):
    """The request names a model that is not served here, or not any more."""

    def __init__(self, version: str, served: Sequence[str]) -> None:
        super().__init__(f"model {version!r} is not served here; these are: {', '.join(served)}", field="model")


class NotAdmitted(ServiceError):
    """The caller may not do this."""


class Unauthorised(NotAdmitted):
    """No key was sent, or not one of those that are accepted here. The message never repeats what was sent."""

    def __init__(self, needed: str = "one of the service's keys") -> None:
        super().__init__(f"send {needed} as `Authorization: Bearer KEY` or as `X-API-Key: KEY`")


class Forbidden(NotAdmitted):
    """The request came under another name than the service's, or from another page; the message names the setting."""


class TemporarilyUnavailable(ServiceError):
    """The same request may succeed later.

    Attributes:
        retry_after_s: in how many seconds it is worth trying again; at least 1.
    """

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_s = max(1, math.ceil(wait_s))


class StoreFailure(StrEnum):
    """Why there is nothing from the feature store."""

    TIMEOUT = "timeout"  # no complete answer within the store's own limit
    UNREACHABLE = "unreachable"  # no connection, or it broke
    REFUSED = "refused"  # it answered, and would not: a wrong login, a missing right, no memory
    MALFORMED = "malformed"  # it answered what Redis never does: another program, or replies out of step
    DEADLINE = "deadline"  # not within the time that the caller still waited
    BREAKER = "breaker"  # it was not asked, because it failed too often


class FeatureStoreUnavailable(TemporarilyUnavailable):
    """The feature store refused, did not answer in time, or was not asked."""

    def __init__(self, message: str, kind: StoreFailure) -> None:
        super().__init__(message)
        self.kind = kind


class Overloaded(TemporarilyUnavailable):
    """More requests wait than can be answered in time. Nothing was scored."""

    def __init__(self, *, wait_s: float = 0.0) -> None:
        super().__init__("more requests wait than can be answered in time; try again after Retry-After", wait_s=wait_s)


class DeadlineTooShort(TemporarilyUnavailable):
    """The caller stops waiting before there is an answer. Nothing is scored that had not been begun by then."""

    def __init__(self, *, wait_s: float = 0.0) -> None:
        super().__init__(
            "the time that X-Deadline-Ms leaves is too short for an answer; allow more, or try again after Retry-After",
            wait_s=wait_s,
        )


class UnknownUser(ServiceError):
    """Nothing is stored of this user."""

    def __init__(self) -> None:
        super().__init__("nothing is stored of this user; publish a dataset or send behaviours first")


class BundleRefused(ServiceError):
    """The bundle that should be served cannot be trusted; the one before goes on serving."""


class TooManyConnections(TemporarilyUnavailable):
    """The worker keeps as many connections as it may; this one was closed."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this worker keeps {limit} connections already; close idle ones, or try again later")


class PipelineTooLong(TemporarilyUnavailable):
    """More requests were sent on one connection than may wait there; those before were answered."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} requests wait on this connection; read answers before you send more")


class PredictionFailed(ServiceError):
    """The graph gave something that is no CTR, NaN for instance. Nothing is ranked by it."""


class CallerLeft(Exception):
    """The caller hung up before the scoring began, so that nothing was scored."""
