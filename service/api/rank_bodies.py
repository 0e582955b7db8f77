"""Request and answer bodies of POST /rank: limits, units, examples; a fast parser and one that explains faults."""

from operator import attrgetter
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WrapValidator,
)
from pydantic.config import JsonDict

from dinrank.service.api.repeated_keys import has_keys
from dinrank.service.api.schemas import (
    MAX_FEATURE_NAME_LENGTH,
    MAX_FEATURES,
    MAX_ID_LENGTH,
    MAX_VALUES,
    MAX_VERSION_LENGTH,
    Bid,
    Features,
    Id,
    ModelName,
    Sent,
    Version,
    _whole_number,
    validate_in_batches,
)
from dinrank.service.scoring.ranking import Candidates, Part, RankingTask

_EXAMPLE_REQUEST: JsonDict = {
    "user_id": "42",
    "candidates": [
        {"ad_id": "2858", "bid": 0.35},
        {"ad_id": "9001", "bid": 1.2, "features": {"genre": ["Comedy"]}},
    ],
    "context": {"hour": "21"},
    "top_k": 20,
    "explain": False,
}

_EXAMPLE_RESPONSE: JsonDict = {
    "request_id": "6f1c0b6e0d5b4b6f9c3f0b1f3f1f7a11",
    "model": {"name": "din", "version": "3f9c2a17b04d5e68"},
    "behaviours": 50,
    "degraded": [],
    "ads": [
        {"rank": 1, "ad_id": "9001", "bid": 1.2, "ctr": 0.0212, "ecpm": 0.02544},
        {"rank": 2, "ad_id": "2858", "bid": 0.35, "ctr": 0.0641, "ecpm": 0.022435},
    ],
}


class CandidateBody(Sent):
    """An ad to be scored."""

    ad_id: Id = Field(description="The ad's id as in the training data, as text. Repeated ids are scored as sent.")
    bid: Bid = Field(description="Price per click, in the currency that all candidates share.")
    features: Features = Field(
        default_factory=dict,
        description="Raw item features for this request only: of an ad that the model does not know, or overriding "
        "those that it knows.",
    )


class RankRequest(Sent):
    """A user and the ads to choose from."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_REQUEST]})

    user_id: Id = Field(description="The user's id as in the feature store, as text.")
    candidates: Annotated[list[CandidateBody], WrapValidator(validate_in_batches)] = Field(
        min_length=1, description="The ads to score, all in one pass."
    )
    context: Features = Field(default_factory=dict, description="Raw context features of this moment.")
    top_k: Annotated[int, BeforeValidator(_whole_number)] | None = Field(
        default=None, ge=1, description="Return at most so many ads; all by default."
    )
    explain: bool = Field(
        default=False,
        description="Return each behaviour's activation weights, for models that have them. With many behaviours it "
        "needs a `top_k`: the weights per answer are limited.",
    )
    reserve_price: Bid = Field(
        default=0.0, description="Lowest price of a click: ads that bid less are left out of the answer."
    )
    second_prices: bool = Field(
        default=False,
        description="Return what a click costs each ad in a generalised second-price auction, instead of its bid.",
    )

    model: Version | None = Field(
        default=None,
        description="Rank with this version, one of `GET /models`, instead of the user's model in the traffic split.",
    )

    def to_task(self, request_id: str) -> RankingTask:
        return RankingTask(
            request_id=request_id,
            user_id=self.user_id,
            candidates=Candidates(
                ad_ids=[sent.ad_id for sent in self.candidates],
                bids=[sent.bid for sent in self.candidates],
                features={place: sent.features for place, sent in enumerate(self.candidates) if sent.features},
            ),
            context=self.context,
            top_k=self.top_k,
            explain=self.explain,
            reserve_price=self.reserve_price,
            second_prices=self.second_prices,
            model=self.model,
        )


class WeightBody(BaseModel):
    """Activation weight of one behaviour for one ad."""

    item_id: str
    weight: float = Field(description="Raw: not normalised, and possibly negative.")


class StrongBehaviourBody(BaseModel):
    """A behaviour that mattered most to one ad."""

    item_id: str
    weight: float = Field(description="Raw: not normalised, and possibly negative.")
    behaviour: int = Field(description="Its place in `activation_weights`; 0 is the oldest.")


class RankedAdBody(BaseModel):
    """One ad of the answer."""

    rank: int = Field(description="1 for the highest eCPM.")
    ad_id: str
    bid: float = Field(description="As sent.")
    ctr: float = Field(description="Calibrated click-through rate, from 0 to 1.")
    ecpm: float = Field(description="bid x ctr: expected revenue of one impression, in the bid's currency.")
    price: float | None = Field(
        default=None,
        description="With `second_prices`: what a click costs, the lowest bid that would have kept the place.",
    )
    activation_weights: list[WeightBody] | None = Field(
        default=None, description="With `explain`: one per behaviour used, oldest first."
    )
    strongest: list[StrongBehaviourBody] | None = Field(
        default=None,
        description="With `explain`: the three behaviours with the largest weights of either sign, largest first.",
    )


class RankResponse(BaseModel):
    """The ads, highest eCPM first."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_RESPONSE]})

    request_id: str = Field(description="The X-Request-ID header of the request, or a new id.")
    model: ModelName
    behaviours: int = Field(description="How many of the user's behaviours the CTRs rest on.")
    degraded: list[Part] = Field(description="Inputs that were missing; empty for a full answer.")
    below_reserve: int | None = Field(
        default=None, description="With `reserve_price`: how many candidates bid less and were left out."
    )
    ads: list[RankedAdBody] = Field(description="Ordered by eCPM, highest first; ties in request order.")


_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID_LENGTH)]

_Scalar = str | bool | int | float

_Value = _Scalar | Annotated[list[_Scalar], Meta(max_length=MAX_VALUES)]

_Features = Annotated[
    dict[Annotated[str, Meta(max_length=MAX_FEATURE_NAME_LENGTH)], _Value], Meta(max_length=MAX_FEATURES)
]


# Not tracked by the garbage collector: they cannot be part of a cycle.
class _SentCandidate(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`CandidateBody`, five times as fast."""

    ad_id: _Id
    bid: Annotated[float, Meta(ge=0)]
    features: _Features | UnsetType = UNSET


class _SentRequest(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """`RankRequest`; a test checks that both accept the same bodies."""

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
    """Parse a body into the same task as `RankRequest` does, or return None if it may be invalid.

    Never accepts a body that `RankRequest` refuses, or a repeated key. Refuses numbers beyond 64 bits, which
    `RankRequest` accepts.
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
    """Count the distinct keys in all objects of a body."""
    optional = (sent.context, sent.top_k, sent.explain, sent.reserve_price, sent.second_prices, sent.model)
    num_of_request = _NUM_REQUIRED + len(optional) - optional.count(UNSET) + len(task.context)
    described = task.candidates.features
    num_of_candidates = _NUM_REQUIRED * len(features) + len(described) + sum(map(len, described.values()))
    if len(described) < len(features):
        num_of_candidates += len(features) - len(described) - features.count(UNSET)  # those with `{}`
    return num_of_request + num_of_candidates
