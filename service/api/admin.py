"""What operators ask of a running service."""

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.line_up import LineUpHere
from service.api.routes import problems
from service.api.schemas import ModelName
from service.errors import BundleRefused
from service.reloading import ReloadOutcome
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
async def reload(line_up: LineUpHere) -> ReloadResponse:
    """Look at the bundle's path now, and at those of challengers, and serve what lies there once it is verified.

    200 means: the worker that answers serves the named model from now on, and the other workers have been told to
    follow. Each verifies the bundle itself, seconds at most for one of some gigabytes; until then it answers with the
    model before, and every answer names its model. 409 means: a bundle is refused, and the model before goes on serving
    in its place; the others are told only when another bundle was swapped in. To roll back, put the old bundle at the
    path and ask again.
    """
    reloaders = [place.reloader for place in line_up.places]
    outcomes = {await reloader.reload() for reloader in reloaders}
    has_swapped, has_refused = ReloadOutcome.SWAPPED in outcomes, ReloadOutcome.REFUSED in outcomes
    if has_swapped or not has_refused:
        have_others_reload()
    if has_refused:
        raise BundleRefused("; ".join(str(each.refusal) for each in reloaders if each.refusal is not None))
    return ReloadResponse(
        model=line_up.champion.model_name(),
        outcome=ReloadOutcome.SWAPPED if has_swapped else ReloadOutcome.UNCHANGED,
    )
