"""Shared request and response schemas: types, limits, units and examples."""

import math
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic.config import JsonDict

from dinrank.model.bundle.vocabulary import RawValue
from dinrank.service.lineup.line_up import Served

MAX_ID_LENGTH = 256  # characters of a user or ad id

MAX_VERSION_LENGTH = 64

MAX_FEATURE_NAME_LENGTH = 64

MAX_FEATURES = 256  # by name, of one candidate or of the context

MAX_VALUES = 1_000  # in a feature's list; a bundle uses the first of them, some tens at most

# Explaining a fault costs 100x finding it, so lists are validated in small batches.
_MAX_NAMES = 32  # of an object's fields, known or unknown

_FAULTY_PORTION = 20  # candidates


def _feature_value(value: Any) -> RawValue:
    """Validate one raw value or a list of them, with one message instead of one per type that did not match."""
    scalars = value if isinstance(value, list) else [value]
    if len(scalars) > MAX_VALUES:
        raise ValueError(f"at most {MAX_VALUES} values, not {len(scalars)}")
    if not all(isinstance(scalar, str | bool | int | float) for scalar in scalars):
        raise ValueError("must be text, a number, true, false, or a list of those")
    if any(isinstance(scalar, float) and not math.isfinite(scalar) for scalar in scalars):
        raise ValueError("numbers must be finite")
    checked: RawValue = value
    return checked


def _few_features(value: Any) -> Any:
    if isinstance(value, dict) and len(value) > MAX_FEATURES:
        raise ValueError(f"at most {MAX_FEATURES} features, not {len(value)}")
    return value


def validate_in_batches(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate a list batch by batch, and stop at the first batch with faults."""
    if not isinstance(value, list) or not value:
        return validate(value)
    validated: list[Any] = []
    for start in range(0, len(value), _FAULTY_PORTION):
        end = start + _FAULTY_PORTION
        try:
            validated += validate(value[start:end])
        except ValidationError:
            return validate(value[:end])  # from the start, so that the faults name the right positions
    return validated


def _whole_number(value: Any) -> Any:
    """Accept 20.0 as 20: the same number in JSON, and an integer in JSON Schema."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_SCALAR_SCHEMA = [{"type": "string"}, {"type": "number"}, {"type": "boolean"}]

FeatureValue = Annotated[
    Any,
    PlainValidator(_feature_value),
    WithJsonSchema(
        {"anyOf": [*_SCALAR_SCHEMA, {"type": "array", "items": {"anyOf": _SCALAR_SCHEMA}, "maxItems": MAX_VALUES}]}
    ),
]

Id = Annotated[str, Field(min_length=1, max_length=MAX_ID_LENGTH)]

Version = Annotated[str, Field(min_length=1, max_length=MAX_VERSION_LENGTH)]

Bid = Annotated[float, Field(ge=0)]

Features = Annotated[
    dict[Annotated[str, Field(max_length=MAX_FEATURE_NAME_LENGTH)], FeatureValue],
    Field(max_length=MAX_FEATURES),
    BeforeValidator(_few_features),  # before the values: each may be at fault
]

SENT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)  # exact types; a misspelt name is an error

_EXAMPLE_PROBLEM: JsonDict = {
    "type": "urn:dinrank:problem:malformed-body",
    "title": "The body is not what this endpoint takes",
    "status": 422,
    "detail": "candidates.0.bid: Input should be greater than or equal to 0",
    "instance": "/rank#6f1c0b6e0d5b4b6f9c3f0b1f3f1f7a11",
    "errors": [{"field": "candidates.0.bid", "message": "Input should be greater than or equal to 0"}],
}


class Sent(BaseModel):
    """Base of all request bodies: strict types, no unknown fields."""

    model_config = ConfigDict(**SENT, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _few_names(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) > _MAX_NAMES:
            raise ValueError(f"takes {', '.join(cls.model_fields)}; {len(value)} fields were sent")
        return value


class ModelName(BaseModel):
    """The model that answered."""

    name: str = Field(description="The network.")
    version: str = Field(description="Hash of the bundle's content.")

    @classmethod
    def of(cls, served: Served) -> Self:
        return cls(name=served.name, version=served.version)


class FieldError(BaseModel):
    """One fault in a request."""

    field: str = Field(description="Path into the body, `candidates.0.bid` for instance; empty for the body itself.")
    message: str


class Problem(BaseModel):
    """The reason why a request was not answered (RFC 9457)."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_PROBLEM]})

    type: str = Field(description="Names the kind of problem; `about:blank` when the status says it all.")
    title: str
    status: int
    detail: str
    instance: str = Field(description="This occurrence: path and request id.")
    errors: list[FieldError] = Field(default_factory=list)
