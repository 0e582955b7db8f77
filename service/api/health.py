"""Whether the process runs, and whether it should get requests."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.schemas import ModelName
from service.api.served import ServedHere
from service.errors import FeatureStoreUnavailable

router = APIRouter()


class Liveness(BaseModel):
    """The process runs."""

    status: Literal["alive"] = "alive"


class Readiness(BaseModel):
    """The bundle is loaded; the status says whether Redis answers too."""

    status: Literal["ready", "degraded"] = Field(description="degraded: requests are answered without stored features.")
    model: ModelName
    feature_store: Literal["available", "unavailable"]


@router.get("/livez")
async def livez() -> Liveness:
    """200 while the process can answer at all. Looks at nothing else: no restart mends Redis."""
    return Liveness()


@router.get("/readyz")
async def readyz(served: ServedHere) -> Readiness:
    """200 once the bundle is loaded and verified; before that, connections are refused.

    It stays 200 while Redis is away and says `degraded`: answers are still given, and taking every replica out of the
    balancer at once would turn worse answers into none.
    """
    try:
        await served.store.ping()
    except FeatureStoreUnavailable:
        return Readiness(status="degraded", model=served.model_name(), feature_store="unavailable")
    return Readiness(status="ready", model=served.model_name(), feature_store="available")
