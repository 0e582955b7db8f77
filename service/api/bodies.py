"""The body of POST /rank by one pass: bytes to columns."""

from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from service.api.repeated_keys import has_keys
from service.api.schemas import MAX_FEATURE_NAME_LENGTH, MAX_FEATURES, MAX_ID_LENGTH, MAX_VALUES, MAX_VERSION_LENGTH
from service.scoring.ranking import Candidates, RankingTask

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]
_Scalar = str | bool | int | float
_Value = _Scalar | Annotated[list[_Scalar], Meta(max_length=MAX_VALUES)]
_Features = Annotated[
    dict[Annotated[str, Meta(max_length=MAX_FEATURE_NAME_LENGTH)], _Value], Meta(max_length=MAX_FEATURES)
]


# Not looked at by the garbage collector: no cycle can go through them.
class _SentCandidate(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`CandidateBody`, at a fifth of the time."""

    ad_id: _Id
    bid: Annotated[float, Meta(ge=0)]
    features: _Features | UnsetType = UNSET


class _SentRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`RankRequest`; a test holds what both take together."""

    user_id: _Id
    candidates: Annotated[list[_SentCandidate], Meta(min_length=1)]
    context: _Features | UnsetType = UNSET
    top_k: Annotated[int, Meta(ge=1)] | UnsetType | None = UNSET
    explain: bool | UnsetType = UNSET
    reserve_price: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    second_prices: bool | UnsetType = UNSET
    model: Annotated[str, Meta(min_length=1, max_length=MAX_VERSION_LENGTH)] | UnsetType | None = UNSET


_NUM_REQUIRED = 2  # keys, of a request as of a candidate
_decoder = msgspec.json.Decoder(_SentRequest)
_ad_id, _bid, _features = attrgetter("ad_id"), attrgetter("bid"), attrgetter("features")


def read_task(body: bytes, request_id: str) -> RankingTask | None:
    """What `RankRequest` makes of the same body, or None when something may be wrong with it.

    Never takes what `RankRequest` refuses, nor a key that is there twice. It refuses some of what that takes: numbers
    beyond 64 bits.
    """
    try:
        sent = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    features = list(map(_features, sent.candidates))
    task = RankingTask(
        request_id=request_id,
        user_id=sent.user_id,
        candidates=Candidates(
            ad_ids=list(map(_ad_id, sent.candidates)),
            bids=list(map(_bid, sent.candidates)),
            features={place: each for place, each in enumerate(features) if each},
        ),
        context=sent.context or {},
        top_k=sent.top_k or None,
        explain=sent.explain or False,
        reserve_price=0.0 if sent.reserve_price is UNSET else sent.reserve_price,
        second_prices=sent.second_prices or False,
        model=sent.model or None,
    )
    return task if has_keys(body, _num_keys(sent, task, features)) else None


def _num_keys(sent: _SentRequest, task: RankingTask, features: list[_Features | UnsetType]) -> int:
    """Different keys in all objects of a body."""
    optional = (sent.context, sent.top_k, sent.explain, sent.reserve_price, sent.second_prices, sent.model)
    num_of_request = _NUM_REQUIRED + len(optional) - optional.count(UNSET) + len(task.context)
    described = task.candidates.features
    num_of_candidates = _NUM_REQUIRED * len(features) + len(described) + sum(map(len, described.values()))
    if len(described) < len(features):
        num_of_candidates += len(features) - len(described) - features.count(UNSET)  # those with `{}`
    return num_of_request + num_of_candidates
