"""What the routes work with, opened and closed by the application's lifespan."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from model.bundle.reader import Bundle
from service.api.schemas import ModelName
from service.scoring.predictor import Predictor
from service.scoring.ranker import Ranker
from service.settings import Settings
from service.store.breaker import BreakerStore
from service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Served:
    """One bundle being served."""

    settings: Settings
    bundle: Bundle
    predictor: Predictor
    store: BreakerStore
    ranker: Ranker
    telemetry: Telemetry

    def model_name(self) -> ModelName:
        return ModelName(name=self.bundle.manifest.model_name, version=self.bundle.manifest.model_version)


async def _served(request: Request) -> Served:  # async: FastAPI would give a plain function a thread
    served: Served = request.app.state.served
    return served


ServedHere = Annotated[Served, Depends(_served)]
