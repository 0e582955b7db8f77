"""What the routes work with, opened and closed by the application's lifespan."""

from dataclasses import dataclass

from model.bundle.reader import Bundle
from service.api.schemas import ModelName
from service.scoring.predictor import Predictor
from service.scoring.ranker import Ranker
from service.scoring.shadow import Shadow
from service.settings import Settings
from service.store.breaker_store import BreakerStore
from service.telemetry import Telemetry


@dataclass(frozen=True, slots=True)
class Served:
    """One bundle being served.

    Attributes:
        shadow: compares this model with those that rank, where that is what it is here for.
    """

    settings: Settings
    bundle: Bundle
    predictor: Predictor
    store: BreakerStore
    ranker: Ranker
    telemetry: Telemetry
    shadow: Shadow | None = None

    def model_name(self) -> ModelName:
        return ModelName(name=self.bundle.manifest.model_name, version=self.bundle.manifest.model_version)
