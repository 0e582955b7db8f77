"""A shadow counts how far it is from the model that ranked, one ranking at a time."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from dinrank.service.errors import UnknownFeature
from dinrank.service.scoring.ranking import Candidates, Part, Ranking, RankingTask
from dinrank.service.scoring.shadow import Shadow
from dinrank.service.telemetry.metrics import Telemetry

pytestmark = pytest.mark.anyio
TASK = RankingTask("r1", "42", Candidates(["a", "b", "c"], [1.0, 2.0, 1.0]), context={}, explain=True)


def ranking(*ctrs: float, degraded: Sequence[Part] = ()) -> Ranking:
    return Ranking([], [], [], [], num_behaviours=0, degraded=degraded, ctr_C=np.array(ctrs))


@dataclass
class OtherModel:
    """Answers with what it is given, an error too, once `goes_on` is set."""

    answer: Ranking | Exception
    goes_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: list[RankingTask] = field(default_factory=list)

    async def rank(self, task: RankingTask) -> Ranking:
        self.asked.append(task)
        await self.goes_on.wait()
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Stage:
    def __init__(self, answer: Ranking | Exception) -> None:
        self.telemetry, self.model = Telemetry(), OtherModel(answer)
        self.shadow = Shadow(self.model, self.telemetry, version="v2")  # type: ignore[arg-type]

    async def looks_at(self, ranked: Ranking) -> None:
        self.model.goes_on.set()
        self.shadow.look_at(TASK, ranked)
        for _ in range(5):
            await asyncio.sleep(0)

    def count(self, name: str, **labels: str) -> float:
        pairs = ",".join(f'{label}="{value}"' for label, value in sorted({**labels, "version": "v2"}.items()))
        lines = self.telemetry.exposition().decode().splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{{pairs}}} ")), 0.0)

    def outcomes(self) -> dict[str, float]:
        return {
            outcome: self.count("dinrank_shadow_rankings_total", outcome=outcome)
            for outcome in ("compared", "skipped", "failed")
        }


async def test_differences_of_all_candidates_and_the_same_winner_are_counted() -> None:
    stage = Stage(ranking(0.5, 0.30, 0.1))
    await stage.looks_at(ranking(0.2, 0.25, 0.1))  # the winners by bid x CTR: b with 0.5, and b with 0.6
    assert stage.outcomes() == {"compared": 1, "skipped": 0, "failed": 0}
    assert stage.count("dinrank_shadow_ctr_difference_count") == 3
    assert stage.count("dinrank_shadow_ctr_difference_sum") == pytest.approx(0.3 + 0.05)
    assert stage.count("dinrank_shadow_same_winner_total") == 1
    await stage.looks_at(ranking(0.9, 0.25, 0.1))  # a with 0.9
    assert stage.count("dinrank_shadow_same_winner_total") == 1
    assert all(not task.explain for task in stage.model.asked)


async def test_what_comes_while_it_works_is_passed_over() -> None:
    stage = Stage(ranking(0.1, 0.1, 0.1))
    for _ in range(3):
        stage.shadow.look_at(TASK, ranking(0.1, 0.1, 0.1))
    assert stage.outcomes() == {"compared": 0, "skipped": 2, "failed": 0}
    await stage.looks_at(ranking(0.1, 0.1, 0.1))
    assert stage.outcomes() == {"compared": 1, "skipped": 3, "failed": 0}
    await stage.looks_at(ranking(0.1, 0.1, 0.1))
    assert stage.outcomes()["compared"] == 2


async def test_degraded_answers_of_either_are_not_compared() -> None:
    stage = Stage(ranking(0.1, 0.1, 0.1))
    await stage.looks_at(ranking(0.1, 0.1, 0.1, degraded=[Part.BEHAVIOURS]))
    assert stage.model.asked == []
    blind = Stage(ranking(0.1, 0.1, 0.1, degraded=[Part.BEHAVIOURS]))
    await blind.looks_at(ranking(0.1, 0.1, 0.1))
    assert stage.outcomes() == blind.outcomes() == {"compared": 0, "skipped": 1, "failed": 0}


async def test_a_request_that_the_model_refuses_is_counted_and_told(caplog: pytest.LogCaptureFixture) -> None:
    stage = Stage(UnknownFeature("the model has no context feature 'hour'", field="context.hour"))
    await stage.looks_at(ranking(0.1, 0.1, 0.1))
    assert stage.outcomes() == {"compared": 0, "skipped": 0, "failed": 1}
    [line] = [record.getMessage() for record in caplog.records if record.name == "dinrank"]
    assert line == 'shadow_failed request_id="r1" error="the model has no context feature \'hour\'"'


async def test_closing_ends_what_is_under_way() -> None:
    stage = Stage(ranking(0.1, 0.1, 0.1))
    stage.shadow.look_at(TASK, ranking(0.1, 0.1, 0.1))
    await stage.shadow.aclose()
    assert stage.outcomes()["compared"] == 0
    await Stage(ranking(0.1)).shadow.aclose()
