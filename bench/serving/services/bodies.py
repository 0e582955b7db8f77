"""Bodies of `POST /rank`, as pydantic models: the same for all services that are compared."""

from pydantic import BaseModel, Field


class Candidate(BaseModel):
    ad_id: str
    bid: float = Field(ge=0)


class RankRequest(BaseModel):
    user_id: str
    candidates: list[Candidate]
    context: dict[str, str] = {}


class RankedAd(BaseModel):
    rank: int
    ad_id: str
    bid: float
    ctr: float
    ecpm: float


class RankResponse(BaseModel):
    ads: list[RankedAd]
