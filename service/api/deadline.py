"""The header X-Deadline-Ms: how long the caller still waits."""

import math
from collections.abc import Iterable
from typing import Any

from service.errors import MalformedHeader

DEADLINE_HEADER = "X-Deadline-Ms"
_NAME = DEADLINE_HEADER.lower().encode()
_LONGEST_MS = 86_400_000  # a day
_TAKES = f"one whole number of milliseconds from 1 to {_LONGEST_MS}"

DEADLINE_PARAMETER: dict[str, Any] = {
    "name": DEADLINE_HEADER,
    "in": "header",
    "required": False,
    "description": "How many milliseconds the caller still waits, from the arrival of the request. A request that "
    "cannot be answered by then is refused at once, Redis gets no more than the time that is left, and none is "
    "kept waiting longer.",
    "schema": {"type": "integer", "minimum": 1, "maximum": _LONGEST_MS},
    "example": 100,
}


def patience_s(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """Seconds that the caller waits, infinite when the header is not there.

    Raises:
        MalformedHeader
    """
    sent = [value for name, value in headers if name == _NAME]
    if not sent:
        return math.inf
    text = sent[0].strip(b" \t")
    if len(sent) > 1 or not text.isdigit() or len(text) > len(str(_LONGEST_MS)):
        raise MalformedHeader(DEADLINE_HEADER, _TAKES)
    if not 1 <= (milliseconds := int(text)) <= _LONGEST_MS:
        raise MalformedHeader(DEADLINE_HEADER, _TAKES)
    return milliseconds / 1_000
