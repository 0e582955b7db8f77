"""The models that are served side by side: the champion, its challengers, and shadows that rank for nobody."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from service.api.served import Served
from service.errors import ModelNotServed
from service.reloading import Reloader
from service.role import Role
from service.scoring.ranking import Ranking, RankingTask
from service.scoring.run_limit import RunLimit
from service.split import challenger_of, point_of


@dataclass(slots=True)
class Place:
    """One model's place; a reload puts another model in it.

    Attributes:
        share: of the users.
    """

    role: Role
    share: float
    served: Served
    reloader: Reloader


class LineUp:
    """Who ranks for whom.

    Args:
        places: the champion first.
        salt: of the split, see `service.split`.
        run_limit: of all these models.
    """

    def __init__(self, places: Sequence[Place], *, salt: str, run_limit: RunLimit) -> None:
        self.places = places
        self.run_limit = run_limit
        self._salt = salt
        self._challengers = [place for place in places if place.role is Role.CHALLENGER]
        self._shares = [place.share for place in self._challengers]
        self._shadows = [place for place in places if place.role is Role.SHADOW]

    @property
    def champion(self) -> Served:
        return self.places[0].served

    def for_task(self, task: RankingTask) -> Served:
        """The model that ranks: the one that the request names, or the one that has the user.

        Raises:
            ModelNotServed: the request names one that is not here.
        """
        if task.model is not None:
            return self._named(task.model)
        if not self._shares:
            return self.champion
        challenger = challenger_of(point_of(task.user_id, self._salt), self._shares)
        return self.champion if challenger is None else self._challengers[challenger].served

    def compare(self, task: RankingTask, ranking: Ranking) -> None:
        """Have the shadows look at an answer that is ready."""
        for place in self._shadows:
            if place.served.shadow is not None:
                place.served.shadow.look_at(task, ranking)

    def ask_for_reload(self) -> None:
        """Have every watch look at its path again. To be called in the event loop."""
        for place in self.places:
            place.reloader.ask()

    async def aclose(self) -> None:
        for place in self._shadows:
            if place.served.shadow is not None:
                await place.served.shadow.aclose()

    def _named(self, version: str) -> Served:
        served = [place.served for place in self.places]
        for each in served:
            if each.model_name().version == version:
                return each
        raise ModelNotServed(version, [each.model_name().version for each in served])


async def _line_up(request: Request) -> LineUp:  # async: FastAPI would give a plain function a thread
    line_up: LineUp = request.app.state.line_up
    return line_up


LineUpHere = Annotated[LineUp, Depends(_line_up)]


async def _champion(line_up: LineUpHere) -> Served:
    return line_up.champion


ChampionHere = Annotated[Served, Depends(_champion)]
