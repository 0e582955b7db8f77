"""Shadow model: scores the same requests as the serving models, and counts how far the results differ."""

import asyncio
import dataclasses
import logging
from enum import StrEnum

import numpy as np

from dinrank.model.auction import ecpm
from dinrank.service.errors import ServiceError
from dinrank.service.scoring.ranker import Ranker
from dinrank.service.scoring.ranking import Ranking, RankingTask
from dinrank.service.telemetry.logs import log_event
from dinrank.service.telemetry.metrics import Telemetry


class ShadowOutcome(StrEnum):
    """Outcome of a ranking that was offered to a shadow."""

    COMPARED = "compared"
    SKIPPED = "skipped"  # the shadow was busy, or one of the answers was degraded
    FAILED = "failed"


class Shadow:
    """Compares a shadow model with the serving models. One per worker and model.

    It works on one ranking at a time and skips those that arrive meanwhile, so that at worst every other ranking of a
    thread waits for one of the shadow's. Each comparison costs as much as a ranking.
    """

    def __init__(self, ranker: Ranker, telemetry: Telemetry, *, version: str) -> None:
        """Args:
        ranker: of the shadow's model; its rankings must not be counted as callers'.
        """
        self._ranker = ranker
        self._outcomes = {outcome: telemetry.shadow_rankings.labels(version, outcome) for outcome in ShadowOutcome}
        self._same_winner = telemetry.shadow_same_winner.labels(version)
        self._difference = telemetry.shadow_ctr_difference.labels(version)
        self._work: asyncio.Task[None] | None = None

    def look_at(self, task: RankingTask, ranking: Ranking) -> None:
        """Compare in the background, or skip. Call it in the event loop, once the answer is known."""
        if ranking.degraded or (self._work is not None and not self._work.done()):
            self._outcomes[ShadowOutcome.SKIPPED].inc()
            return
        self._work = asyncio.create_task(self._compare(task, ranking))

    async def aclose(self) -> None:
        """Cancel the comparison in progress."""
        if self._work is not None:
            self._work.cancel()
            await asyncio.wait([self._work])

    async def _compare(self, task: RankingTask, ranking: Ranking) -> None:
        plain = dataclasses.replace(task, explain=False)
        try:
            own = await self._ranker.rank(plain)
        except ServiceError as exc:  # a feature that this model lacks, for instance
            log_event(logging.WARNING, "shadow_failed", request_id=task.request_id, error=exc)
            self._outcomes[ShadowOutcome.FAILED].inc()
            return
        if own.degraded:
            self._outcomes[ShadowOutcome.SKIPPED].inc()
            return
        bid_C = np.array(task.candidates.bids, dtype=np.float64)
        has_same_winner = ecpm(bid_C, own.ctr_C).argmax() == ecpm(bid_C, ranking.ctr_C).argmax()
        self._difference.observe_all(np.abs(own.ctr_C - ranking.ctr_C))
        self._same_winner.inc(int(has_same_winner))
        self._outcomes[ShadowOutcome.COMPARED].inc()
