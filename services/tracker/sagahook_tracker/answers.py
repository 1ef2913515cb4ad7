"""What became of it? Answers that are never older than the question."""

from __future__ import annotations

import time
from contextlib import suppress
from math import inf

from aiokafka import TopicPartition

from sagahook.runtime.ids import drawn_at
from sagahook_schemas.definitions import ControlKind, SagaDefinition
from sagahook_schemas.identity import partition_of
from sagahook_tracker.adapters.log_end import LogEnd
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.views import RunView, Views
from sagahook_tracker.domain.deployment import Deployment, Pausable
from sagahook_tracker.domain.runs import FINAL
from sagahook_tracker.domain.status import Answer, answer

CATCH_UP = 5.0
"""Seconds that a question may wait for the views to stand for the log as it was when the question came: longer than
their partitions take to go to another projector, when one is replaced on a busy machine."""

PATIENCE = 0.5
"""Seconds that a question which may wait gives the views to know its webhook, before Kafka is asked where its log ends:
almost always they do, and that costs the broker nothing. Whatever becomes final before costs no look either."""

Ends = dict[TopicPartition, int]


NEWBORN, GROWN = 0.03, 0.1
"""Seconds. Almost every question that may wait comes right after its POST, before the views can know the webhook: what
is younger than the first is looked for when there is news of it, or at the latest after the second."""


class Behind(Exception):
    """Ask again soon: the views do not yet stand for the whole log, so that nobody can say it is not there."""


class Answers:
    """Every method raises Unavailable while PostgreSQL or Kafka is away."""

    def __init__(
        self,
        views: Views,
        news: News,
        log_end: LogEnd,
        webhooks_topic: str,
        sagas_topic: str,
        definitions_topic: str,
    ) -> None:
        self._views = views
        self._news = news
        self._log_end = log_end
        self._webhooks_topic = webhooks_topic
        self._sagas_topic = sagas_topic
        self._definitions_topic = definitions_topic

    async def webhook(self, source: str, correlation_id: str, wait: float) -> Answer | None:
        """As soon as it is final, or after `wait` seconds; None where there is no such webhook.
        Raises Behind."""
        deadline = time.monotonic() + wait
        with self._news.following(correlation_id) as follower:
            if wait and _age(correlation_id) < NEWBORN:
                await follower.hears(min(deadline, time.monotonic() + GROWN))
            found = await self._look(source, correlation_id)
            if found is None and wait:
                await follower.hears(min(deadline, time.monotonic() + PATIENCE))
                found = await self._look(source, correlation_id)
            if found is None:
                await self._catch_up(self._webhooks_topic)
                found = await self._look(source, correlation_id)
            while found is not None and not found.final and await follower.hears(deadline):
                found = await self._look(source, correlation_id)
            return found

    async def saga(self, saga_id: str, wait: float = 0) -> RunView | None:
        """The newest run, as soon as it is final, or after `wait` seconds; None where there is no such saga.
        Raises Behind."""
        deadline = time.monotonic() + wait
        found = await self._views.newest_run(saga_id)
        if found is None:
            await self._catch_up(self._sagas_topic, saga_id)
            found = await self._views.newest_run(saga_id)
        if found is None or found.run.state in FINAL or not wait:
            return found
        with self._news.following(found.run.correlation_id or "") as follower:
            while True:
                found = await self._views.newest_run(saga_id)
                if found is None or found.run.state in FINAL or not await follower.hears(deadline):
                    return found

    async def freshest(self, saga_id: str) -> RunView | None:
        """The newest run as the log has it now, or, where the views are behind, as they last knew it. Raises Behind
        where they do not know it at all."""
        behind: Behind | None = None
        try:
            await self._catch_up(self._sagas_topic, saga_id)
        except Behind as reason:
            behind = reason
        found = await self._views.newest_run(saga_id)
        if found is None and behind is not None:
            raise behind
        return found

    async def definition(self, name: str, version: int | None) -> SagaDefinition | None:
        """The version, or the newest; None where it is not deployed. Raises Behind."""
        found = await self._views.definition(name, version)
        if found is None:
            await self._catch_up(self._definitions_topic)
            found = await self._views.definition(name, version)
        return found

    async def deployment(self) -> Deployment:
        """What is deployed and paused as the log has it now, or, where the views are behind, as they last knew it."""
        with suppress(Behind):
            await self._catch_up(self._definitions_topic)
        return await self._views.deployment()

    async def pausable(self, kind: ControlKind, name: str) -> Pausable | None:
        """The definition or source; None where there is none. Raises Behind."""
        found = (await self._views.deployment()).find(kind, name)
        if found is None:
            await self._catch_up(self._definitions_topic)
            found = (await self._views.deployment()).find(kind, name)
        return found

    async def catch_up_events(self) -> None:
        """Until the views stand for every webhook that is received by now. Raises Behind."""
        await self._catch_up(self._webhooks_topic)

    async def catch_up_task(self, task_id: str) -> None:
        """Until nothing is missing that the id could stand for: a webhook, or what its saga's log says by now.
        Raises Behind."""
        ends = await self._log_end.now()
        webhooks = {
            partition: end for partition, end in ends.items() if partition.topic == self._webhooks_topic
        }
        await self._reach(webhooks | _partition(ends, self._sagas_topic, task_id))

    async def _look(self, source: str, correlation_id: str) -> Answer | None:
        events = await self._views.events(source, correlation_id)
        return answer(events) if events else None

    async def _catch_up(self, topic: str, key: str | None = None) -> None:
        """Until the views stand for the topic's log (the key's partition of it) as it is now."""
        ends = await self._log_end.now()
        await self._reach(_partition(ends, topic, key))

    async def _reach(self, ends: Ends) -> None:
        if not await self._news.reaches(ends, CATCH_UP):
            raise Behind(f"the views are {self._news.lag(ends)} records behind the log")


def _age(correlation_id: str) -> float:
    """Seconds since it was drawn, by this machine's clock; for ever, where it does not tell."""
    drawn = drawn_at(correlation_id)
    return inf if drawn is None else abs(time.time() - drawn)


def _partition(ends: Ends, topic: str, key: str | None) -> Ends:
    """Of one topic, those of the key's partition, or of all."""
    mine = {partition: end for partition, end in ends.items() if partition.topic == topic}
    if key is None:
        return mine
    number = partition_of(key, len(mine))
    return {partition: end for partition, end in mine.items() if partition.partition == number}
