"""Looks now and then for work that does not go on, and tells the metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from sagahook.runtime.batches import Unavailable
from sagahook.runtime.clock import Clock
from sagahook.runtime.database import NotMigrated
from sagahook.runtime.logging import get_logger
from sagahook_tracker import metrics
from sagahook_tracker.adapters.dead_letters import DeadLetterTopics, DeadTopic
from sagahook_tracker.adapters.stuck import Counts, StuckWork
from sagahook_tracker.domain.stuck import KINDS

log = get_logger(__name__)

EVERY = 30.0
"""Seconds between two looks."""

Known = TypeVar("Known")

Lag = Callable[[], Awaitable[int]]
"""Offsets that the views are behind the log. Raises Unavailable."""


@dataclass(frozen=True, slots=True)
class Survey:
    """dead_letters, lag: None while Kafka does not tell."""

    at: datetime
    counts: Counts
    dead_letters: list[DeadTopic] | None
    lag: int | None

    @property
    def oldest_seconds(self) -> float | None:
        """Of a webhook that was received and is not final."""
        return self._seconds_since(self.counts.oldest_received_at)

    @property
    def unrouted_seconds(self) -> float | None:
        """Of a webhook that no router took up."""
        return self._seconds_since(self.counts.oldest_unrouted_at)

    def _seconds_since(self, at: datetime | None) -> float | None:
        return None if at is None else max(0.0, (self.at - at).total_seconds())


class Watching:
    def __init__(self, stuck: StuckWork, dead_letters: DeadLetterTopics, lag: Lag, clock: Clock) -> None:
        self.stuck = stuck
        self.dead_letters = dead_letters
        self._lag = lag
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled. What is away is waited for, and leaves the metrics as they were."""
        while True:
            try:
                await self.survey()
            except (Unavailable, NotMigrated) as away:
                log.warning("stuck.not_known", reason=str(away))
            await asyncio.sleep(EVERY)

    async def survey(self) -> Survey:
        """As it is now; the metrics are told too. Raises Unavailable or NotMigrated where PostgreSQL does not tell."""
        now = self._clock.now()
        counts = await self.stuck.counts(now)
        dead_letters, lag = await asyncio.gather(_known(self.dead_letters.topics()), _known(self._lag()))
        survey = Survey(now, counts, dead_letters, lag)
        _tell(survey)
        return survey


async def _known(asked: Awaitable[Known]) -> Known | None:
    """None while Kafka does not tell."""
    try:
        return await asked
    except Unavailable:
        return None


def _tell(survey: Survey) -> None:
    for kind in KINDS:
        metrics.STUCK_SAGAS.labels(kind).set(survey.counts.of(kind))
    metrics.STUCK_SAGAS.labels("undoing").set(survey.counts.undoing)
    metrics.OLDEST_UNPROCESSED.set(survey.oldest_seconds or 0)
    metrics.OLDEST_UNROUTED.set(survey.unrouted_seconds or 0)
    for topic in survey.dead_letters or ():
        metrics.DEAD_LETTER_COUNT.labels(topic.of).set(topic.count)
    if survey.lag is not None:
        metrics.PROJECTION_LAG.set(survey.lag)
