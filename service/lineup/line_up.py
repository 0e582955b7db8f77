"""Line-up of models served side by side: the champion, its challengers, and shadows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from dinrank.model.bundle.reader import Bundle
from dinrank.service.errors import BundleRefused, ModelNotServed
from dinrank.service.lineup.reloading import Reloader, ReloadOutcome
from dinrank.service.lineup.split import Role, challenger_of, point_of
from dinrank.service.scoring.predictor import Predictor
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.scoring.ranking import Ranking, RankingTask
from dinrank.service.scoring.run_limit import RunLimit
from dinrank.service.scoring.shadow import Shadow
from dinrank.service.settings import Settings
from dinrank.service.store.breaker_store import BreakerStore
from dinrank.service.telemetry.metrics import Telemetry


@dataclass(frozen=True, slots=True)
class Served:
    """One bundle being served.

    Attributes:
        shadow: compares this model with the serving ones, if its role is shadow.
    """

    settings: Settings
    bundle: Bundle
    predictor: Predictor
    store: BreakerStore
    ranker: Ranker
    telemetry: Telemetry
    shadow: Shadow | None = None

    @property
    def name(self) -> str:
        """Name of the network."""
        return self.bundle.manifest.model_name

    @property
    def version(self) -> str:
        """Hash of the bundle's content."""
        return self.bundle.manifest.model_version


@dataclass(slots=True)
class Place:
    """One model's place in the line-up; a hot reload replaces the model.

    Attributes:
        share: of the users, from 0 to 1.
    """

    role: Role
    share: float
    served: Served
    reloader: Reloader


class LineUp:
    """Traffic split: assigns each user a model.

    Args:
        places: the champion first.
        salt: of the split, see `dinrank.service.lineup.split`.
        run_limit: shared by all these models.
        signal_reload: makes the other workers check their paths.
    """

    def __init__(
        self, places: Sequence[Place], *, salt: str, run_limit: RunLimit, signal_reload: Callable[[], None]
    ) -> None:
        self.places = places
        self.run_limit = run_limit
        self._salt = salt
        self._signal_reload = signal_reload
        self._challengers = [place for place in places if place.role is Role.CHALLENGER]
        self._shares = [place.share for place in self._challengers]
        self._shadows = [place for place in places if place.role is Role.SHADOW]

    @property
    def champion(self) -> Served:
        return self.places[0].served

    def for_task(self, task: RankingTask) -> Served:
        """Return the model that ranks: the one that the request names, or else the user's one.

        Raises:
            ModelNotServed: the request names a model that is not served.
        """
        if task.model is not None:
            return self._named(task.model)
        if not self._shares:
            return self.champion
        challenger = challenger_of(point_of(task.user_id, self._salt), self._shares)
        return self.champion if challenger is None else self._challengers[challenger].served

    def compare(self, task: RankingTask, ranking: Ranking) -> None:
        """Offer a finished ranking to the shadows."""
        for place in self._shadows:
            if place.served.shadow is not None:
                place.served.shadow.look_at(task, ranking)

    def ask_for_reload(self) -> None:
        """Make every reloader check its path again. Call it in the event loop."""
        for place in self.places:
            place.reloader.ask()

    async def reload(self) -> Literal[ReloadOutcome.SWAPPED, ReloadOutcome.UNCHANGED]:
        """Check all paths now; signal the other workers too, unless the only outcome is a refusal.

        Raises:
            BundleRefused: a bundle was refused; the previous one goes on serving in its place.
        """
        reloaders = [place.reloader for place in self.places]
        outcomes = {await reloader.reload() for reloader in reloaders}
        has_swapped, has_refused = ReloadOutcome.SWAPPED in outcomes, ReloadOutcome.REFUSED in outcomes
        if has_swapped or not has_refused:
            self._signal_reload()
        if has_refused:
            raise BundleRefused("; ".join(str(each.refusal) for each in reloaders if each.refusal is not None))
        return ReloadOutcome.SWAPPED if has_swapped else ReloadOutcome.UNCHANGED

    async def aclose(self) -> None:
        for place in self._shadows:
            if place.served.shadow is not None:
                await place.served.shadow.aclose()

    def _named(self, version: str) -> Served:
        served = [place.served for place in self.places]
        for each in served:
            if each.version == version:
                return each
        raise ModelNotServed(version, [each.version for each in served])
