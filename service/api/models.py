"""Routes about the served models: the champion, its challengers and shadows, and hot reload."""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import (
    BaseModel,
    Field,
)

from dinrank.service.api.dependencies import LineUpHere
from dinrank.service.api.openapi import problems
from dinrank.service.api.paths import ADMIN_PATH
from dinrank.service.api.schemas import ModelName
from dinrank.service.api.strict_json import StrictJsonRoute
from dinrank.service.lineup.reloading import ReloadOutcome
from dinrank.service.lineup.split import Role

router = APIRouter(route_class=StrictJsonRoute)


class ModelResponse(BaseModel):
    """The served model and its provenance."""

    name: str = Field(description="The network.")
    version: str = Field(description="Hash of the bundle's content.")
    features: list[Mapping[str, Any]] = Field(description="The features that the model takes, by group.")
    max_behaviours: int = Field(description="How many behaviours are used, the newest ones.")
    max_candidates: int = Field(description="Most candidates per request.")
    explains: bool = Field(description="Whether `explain` is possible.")
    training: Mapping[str, Any] = Field(description="Data set, commit, seed and configuration behind the bundle.")
    metrics: Mapping[str, Any] = Field(description="Offline metrics by split.")
    calibration: Mapping[str, Any] = Field(description="How logits became CTRs.")


@router.get("/model")
async def model(line_up: LineUpHere) -> ModelResponse:
    """Describe the served model, its provenance and its offline metrics; of several models, the champion."""
    served = line_up.champion
    manifest = served.bundle.manifest
    return ModelResponse(
        name=manifest.model_name,
        version=manifest.model_version,
        features=served.bundle.schema.to_json()["features"],
        max_behaviours=served.bundle.schema.max_behaviours,
        max_candidates=served.settings.max_candidates,
        explains=served.predictor.has_weights,
        training=manifest.training,
        metrics=manifest.metrics,
        calibration=manifest.calibration,
    )


class PlacedModel(BaseModel):
    """One of the models served side by side."""

    model: ModelName
    role: Role = Field(description="A shadow's rankings are only compared, never returned.")
    share: float = Field(description="Of the users, from 0 to 1.")
    explains: bool = Field(description="Whether `explain` is possible.")


class ModelsResponse(BaseModel):
    """The models served side by side, champion first."""

    models: list[PlacedModel]


@router.get("/models")
async def models(line_up: LineUpHere) -> ModelsResponse:
    """List the models served side by side, with each one's share of users."""
    return ModelsResponse(
        models=[
            PlacedModel(
                model=ModelName.of(place.served),
                role=place.role,
                share=place.share,
                explains=place.served.predictor.has_weights,
            )
            for place in line_up.places
        ]
    )


class ReloadResponse(BaseModel):
    """Outcome of a reload request."""

    model: ModelName
    outcome: Literal[ReloadOutcome.SWAPPED, ReloadOutcome.UNCHANGED] = Field(
        description="Whether this worker serves another model than before."
    )


# Authorisation happens earlier, in `key_check`.
@router.post(f"{ADMIN_PATH}/reload", responses=problems(403, 409))
async def reload(line_up: LineUpHere) -> ReloadResponse:
    """Check the paths of the champion and the challengers now, and serve the bundles there once they are verified.

    200: the worker that answers serves the named model from now on, and the other workers have been told to follow.
    Each verifies the bundle itself, in seconds at most for some gigabytes; until then it answers with the previous
    model, and every answer names its model. 409: a bundle was refused, and the previous model goes on serving in its
    place; the other workers are told only if another bundle was swapped in. To roll back, put the old bundle at the
    path and reload again.
    """
    outcome = await line_up.reload()
    return ReloadResponse(model=ModelName.of(line_up.champion), outcome=outcome)
