"""HTTP in, one call, HTTP out."""

from typing import Any

from fastapi import APIRouter, Request, Response

from service.api.answers import rank_answer
from service.api.deadline import DEADLINE_PARAMETER
from service.api.line_up import LineUpHere
from service.api.middleware import RANK_PATH
from service.api.schemas import (
    ModelResponse,
    ModelsResponse,
    PlacedModel,
    Problem,
    RankRequest,
    RankResponse,
)
from service.api.strict_json import StrictJsonRoute
from service.telemetry import EXPOSITION_TYPE


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI description of error answers. Inlined, as FastAPI would file a model under application/json."""
    schema = Problem.model_json_schema(mode="serialization")
    schema["properties"]["errors"]["items"] = schema.pop("$defs")["FieldError"]
    content = {"application/problem+json": {"schema": schema}}
    return {status: {"description": "A problem, RFC 9457.", "content": content} for status in statuses}


router = APIRouter(route_class=StrictJsonRoute)


# The header is documented here and read in `admission`, before there is a route.
@router.post(
    RANK_PATH,
    response_model=RankResponse,
    responses=problems(400, 408, 413, 422, 500, 503),
    openapi_extra={"parameters": [DEADLINE_PARAMETER]},
)
async def rank(body: RankRequest, request: Request, line_up: LineUpHere) -> Response:
    """Score all candidates for one user in one pass and return them by eCPM, highest first."""
    answer = await rank_answer(body.to_task(request.state.request_id), request.scope["state"], line_up)
    return Response(answer, media_type="application/json")


@router.get("/model")
async def model(line_up: LineUpHere) -> ModelResponse:
    """What is served, where it comes from and how good it was offline; of several models, the champion."""
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


@router.get("/models")
async def models(line_up: LineUpHere) -> ModelsResponse:
    """The models that are served side by side, and which share of the users each ranks for."""
    return ModelsResponse(
        models=[
            PlacedModel(
                model=place.served.model_name(),
                role=place.role,
                share=place.share,
                explains=place.served.predictor.has_weights,
            )
            for place in line_up.places
        ]
    )


@router.get("/metrics", response_class=Response)
def metrics(line_up: LineUpHere) -> Response:  # not async: with several workers it reads files
    """All workers' metrics in the Prometheus text format."""
    return Response(line_up.champion.telemetry.exposition(), media_type=EXPOSITION_TYPE)
