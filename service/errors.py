"""What can go wrong while scoring, and who has to act.

ServiceError
├── InvalidRequest              the caller changes the request
│   ├── TooManyCandidates
│   ├── BodyTooLarge
│   ├── UnknownFeature
│   └── ExplanationUnavailable
├── TemporarilyUnavailable      the caller tries again later
│   └── FeatureStoreUnavailable
├── Forbidden                   the caller asks somebody who may
├── BundleRefused               the operator mends or takes back the bundle
└── PredictionFailed            the operator looks at the bundle
"""


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


class BodyTooLarge(InvalidRequest):
    """The body is larger than one request may be."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"the body is larger than {limit_bytes} bytes")


class UnknownFeature(InvalidRequest):
    """The request names a feature that the model lacks, or gives it a value of the wrong shape."""


class ExplanationUnavailable(InvalidRequest):
    """The model has no activation unit, so there are no weights to explain with."""

    def __init__(self, model_name: str) -> None:
        super().__init__(f"model {model_name!r} has no activation weights", field="explain")


class TemporarilyUnavailable(ServiceError):
    """The same request may succeed later."""


class FeatureStoreUnavailable(TemporarilyUnavailable):
    """Redis refused or did not answer in time."""


class Forbidden(ServiceError):
    """The caller may not do this."""


class BundleRefused(ServiceError):
    """The bundle that should be served cannot be trusted; the one before goes on serving."""


class PredictionFailed(ServiceError):
    """The graph gave something that is no CTR, NaN for instance. Nothing is ranked by it."""
