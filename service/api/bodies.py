"""The body of POST /rank by one pass: bytes to columns."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Annotated, NotRequired

from pydantic import FailFast, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from model.bundle.encoding import Attributes
from service.api.schemas import SENT, Bid, Features, Id
from service.scoring.ranking import Candidates, RankingTask


class _SentCandidate(TypedDict):
    """`CandidateBody` as a dictionary, which costs half as much as an object."""

    __pydantic_config__ = SENT  # type: ignore[misc]  # pydantic's way to configure a TypedDict

    ad_id: Id
    bid: Bid
    features: NotRequired[Features]


class _SentRequest(TypedDict):
    """`RankRequest` as a dictionary; a test holds what both take together."""

    __pydantic_config__ = SENT  # type: ignore[misc]

    user_id: Id
    candidates: Annotated[list[_SentCandidate], Field(min_length=1), FailFast()]
    context: NotRequired[Features]
    top_k: NotRequired[Annotated[int | None, Field(ge=1)]]
    explain: NotRequired[bool]


_validator = TypeAdapter(_SentRequest).validator


def read_task(body: bytes, request_id: str) -> RankingTask | None:
    """What `RankRequest` makes of the same body, or None when something may be wrong with it.

    Never takes what `RankRequest` refuses. It refuses some of what that takes: JSON that says a thing twice.
    """
    try:
        sent: _SentRequest = _validator.validate_json(body)
    except ValidationError:
        return None
    candidates = sent["candidates"]
    return RankingTask(
        request_id=request_id,
        user_id=sent["user_id"],
        candidates=Candidates(
            ad_ids=list(map(itemgetter("ad_id"), candidates)),
            bids=list(map(itemgetter("bid"), candidates)),
            features=_features(candidates),
        ),
        context=sent.get("context", {}),
        top_k=sent.get("top_k"),
        explain=sent.get("explain", False),
    )


def _features(candidates: Sequence[_SentCandidate]) -> dict[int, Attributes]:
    """By position, of the candidates that bring any."""
    if max(map(len, candidates)) == len(_SentCandidate.__required_keys__):
        return {}
    return {place: candidate["features"] for place, candidate in enumerate(candidates) if candidate.get("features")}
