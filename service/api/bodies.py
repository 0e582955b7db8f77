"""The body of POST /rank by one pass: bytes to columns."""

from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

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
    context: _Features = {}
    top_k: Annotated[int, Meta(ge=1)] | None = None
    explain: bool = False
    reserve_price: Annotated[float, Meta(ge=0)] = 0.0
    second_prices: bool = False
    model: Annotated[str, Meta(min_length=1, max_length=MAX_VERSION_LENGTH)] | None = None


_decoder = msgspec.json.Decoder(_SentRequest)
_ad_id, _bid, _features = attrgetter("ad_id"), attrgetter("bid"), attrgetter("features")


def read_task(body: bytes, request_id: str) -> RankingTask | None:
    """What `RankRequest` makes of the same body, or None when something may be wrong with it.

    Never takes what `RankRequest` refuses. It refuses some of what that takes: numbers beyond 64 bits.
    """
    try:
        sent = _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return RankingTask(
        request_id=request_id,
        user_id=sent.user_id,
        candidates=Candidates(
            ad_ids=list(map(_ad_id, sent.candidates)),
            bids=list(map(_bid, sent.candidates)),
            features={place: each for place, each in enumerate(map(_features, sent.candidates)) if each},
        ),
        context=sent.context,
        top_k=sent.top_k,
        explain=sent.explain,
        reserve_price=sent.reserve_price,
        second_prices=sent.second_prices,
        model=sent.model,
    )
