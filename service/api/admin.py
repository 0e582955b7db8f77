"""What operators ask of a running service."""

from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from service.api.routes import problems
from service.api.schemas import ModelName
from service.api.served import Served
from service.errors import BundleRefused
from service.reloading import Reloader, ReloadOutcome
from service.worker import have_others_reload

# Who may come here is decided before, in `key_check`.
router = APIRouter(prefix="/admin")


class ReloadResponse(BaseModel):
    """What became of the request to reload."""

    model: ModelName
    outcome: Literal[ReloadOutcome.SWAPPED, ReloadOutcome.UNCHANGED] = Field(
        description="Whether this worker serves another model than before."
    )


@router.post("/reload", responses=problems(403, 409))
async def reload(request: Request) -> ReloadResponse:
    """Look at the bundle's path now, and serve what lies there once it is verified.

    200 means: the worker that answers serves the named model from now on, and the other workers have been told to
    follow. Each verifies the bundle itself, seconds at most for one of some gigabytes; until then it answers with the
    model before, and every answer names its model. 409 means: the bundle is refused, nobody was told, and the model
    before goes on serving. To roll back, put the old bundle at the path and ask again.
    """
    reloader: Reloader = request.app.state.reloader
    outcome = await reloader.reload()
    if outcome is ReloadOutcome.REFUSED:
        raise BundleRefused(str(reloader.refusal))
    have_others_reload()
    served: Served = request.app.state.served
    return ReloadResponse(model=served.model_name(), outcome=outcome)
