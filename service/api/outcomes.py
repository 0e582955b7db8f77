"""Every way in which a ranking request can end; what `dinrank_requests_total` counts by."""

from http import HTTPStatus

from service.api.errors import INTERNAL, MALFORMED, PROBLEMS, http_problem

OK = "ok"
DEGRADED = "degraded"  # answered, without a part of the input
ABANDONED = "abandoned"  # the caller hung up before there was an answer

# What the framework refuses by itself on this path: another method, and a body that it cannot read.
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
