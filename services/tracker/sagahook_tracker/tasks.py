"""What a task id stands for, and what is known of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from sagahook.runtime.acts import Who
from sagahook.runtime.clock import Clock
from sagahook_schemas.commands import RetrySaga
from sagahook_tracker.adapters.event_reading import EventReading, WholeEvent
from sagahook_tracker.adapters.history_reading import Happened, HistoryReading, Sum
from sagahook_tracker.adapters.news import News
from sagahook_tracker.adapters.rows import text
from sagahook_tracker.adapters.task_reading import AskedSaga, AttemptRow, TaskFilter, TaskReading, TaskRow
from sagahook_tracker.adapters.views import RunView, Views
from sagahook_tracker.answers import Answers
from sagahook_tracker.domain.positions import Places, Position
from sagahook_tracker.domain.runs import FINAL, TASK_STATUSES, TaskStatus
from sagahook_tracker.domain.tasks import of_event
from sagahook_tracker.operating import Operating, Refused

MOST_HISTORY = 100


@dataclass(frozen=True, slots=True)
class Task:
    """id: as it was asked for. event: the webhook that the id stands for, and so for all of its sagas; None: it is a
    saga's own. runs: the newest ones of those sagas that have started, in the order in which they were asked for.
    asked: of a saga that has not started."""

    id: str
    event: WholeEvent | None
    runs: tuple[RunView, ...]
    asked: AskedSaga | None = None

    @property
    def saga_ids(self) -> tuple[str, ...]:
        if self.event is not None:
            return tuple(saga.saga_id for saga in self.event.sagas)
        return (self.id,)

    @property
    def name(self) -> str | None:
        """Of the first of its sagas; None where it is not known yet whether there will be one."""
        if self.runs:
            return self.runs[0].run.name
        if self.asked is not None:
            return self.asked.name
        return self.event.sagas[0].name if self.event is not None and self.event.sagas else None

    @property
    def correlation_id(self) -> str | None:
        if self.event is not None:
            return self.event.correlation_id
        return self.asked.correlation_id if self.asked is not None else self.runs[0].run.correlation_id

    @property
    def status(self) -> TaskStatus:
        """Of all sagas together."""
        if self.event is not None:
            return of_event(self.event.outcome)
        return TASK_STATUSES[self.runs[0].run.state] if self.runs else "pending"

    @property
    def final(self) -> bool:
        if self.event is not None:
            return self.event.processed
        return bool(self.runs) and self.runs[0].run.state in FINAL

    @property
    def progress(self) -> float:
        """0 to 1, of all sagas together."""
        if self.status == "completed":
            return 1.0
        return sum(view.run.progress for view in self.runs) / len(self.saga_ids) if self.runs else 0.0

    @property
    def created_at(self) -> datetime | None:
        if self.event is not None:
            return self.event.received_at
        return self.asked.asked_at if self.asked is not None else self.runs[0].run.started_at


class Tasks:
    """Every method raises Unavailable while PostgreSQL or Kafka is away; those that take an id raise Behind where it is
    not known yet and may be soon."""

    def __init__(
        self,
        answers: Answers,
        views: Views,
        news: News,
        tasks: TaskReading,
        events: EventReading,
        history: HistoryReading,
        operating: Operating,
        clock: Clock,
        sagas_topic: str,
    ) -> None:
        self._answers = answers
        self._views = views
        self._news = news
        self._tasks = tasks
        self._events = events
        self._history = history
        self._operating = operating
        self._clock = clock
        self._sagas_topic = sagas_topic

    async def page(
        self, wanted: TaskFilter, how_many: int, skip: int, after: Position | None
    ) -> tuple[list[TaskRow], Position | None]:
        """Those that started last first, and where to go on, None at the end."""
        return await self._tasks.page(wanted, how_many, skip, after)

    async def find(self, task_id: str, wait: float = 0) -> Task | None:
        """As soon as it is final, or after `wait` seconds; None where the id stands for nothing."""
        deadline = time.monotonic() + wait
        task_id = text(task_id)
        found = await self._look(task_id)
        if found is None:
            await self._answers.catch_up_task(task_id)
            found = await self._look(task_id)
        if found is None or found.final or not wait:
            return found
        with self._news.following(found.correlation_id or "") as follower:
            while True:
                found = await self._look(task_id)
                if found is None or found.final or not await follower.hears(deadline):
                    return found

    async def executions(self, saga_id: str) -> list[AttemptRow]:
        """Every attempt of the saga's runs, in the order in which they began."""
        return await self._tasks.attempts(saga_id)

    async def max_retries(self, task: Task) -> int | None:
        """Of one step; None where its definition is not known."""
        if not task.runs:
            return None
        run = task.runs[0].run
        definition = await self._views.definition(run.name, run.version)
        return None if definition is None else max((step.retry.max for step in definition.steps), default=0)

    async def event_number(self, task: Task) -> int | None:
        """The integer id of the webhook that its first saga was started by."""
        if task.event is not None:
            return task.event.number
        event_id = task.asked.event_id if task.asked is not None else task.runs[0].run.event_id
        return None if event_id is None else await self._tasks.event_number(event_id)

    async def retry(self, task_id: str, who: Who) -> tuple[str, str] | None:
        """The saga that is run again, the first of those that failed, and the command's id; None where the id stands
        for nothing. Raises Refused."""
        task = await self.find(task_id)
        if task is None:
            return None
        if len(task.saga_ids) == 1:  # what the views say of it may be a moment old
            fresh = await self._answers.freshest(task.saga_ids[0])
            failed = [] if fresh is None or TASK_STATUSES[fresh.run.state] != "failed" else [fresh]
        else:
            failed = [view for view in task.runs if TASK_STATUSES[view.run.state] == "failed"]
        if not failed:
            raise Refused(
                f"The task is {task.status}, and only one that failed is retried"
                + (
                    "; what is suspended goes on with POST /api/v1/sagas/{id}:retry"
                    if _suspended(task)
                    else ""
                )
            )
        command = RetrySaga(actor=who.actor, reason=who.reason)
        command_ids = [await self._operating.act(view.run.saga_id, who, command) for view in failed]
        return failed[0].run.saga_id, command_ids[0]

    async def history(self, task: Task, within: timedelta, how_many: int) -> list[Happened]:
        """What happened to all of its sagas, the newest first."""
        if not task.saga_ids:
            return []
        return await self._history.of(task.saga_ids, self._clock.now() - within, how_many)

    async def recent(self, within: timedelta) -> tuple[list[Happened], Places]:
        """What happened to any task, the newest first, and where the stream goes on from there."""
        since = self._clock.now() - within
        return await self._history.recent(self._sagas_topic, since, MOST_HISTORY)

    async def totals(self, within: timedelta | None = None) -> list[Sum]:
        """Since ever, or of the last while."""
        return await self._history.totals(None if within is None else self._clock.now() - within)

    async def _look(self, task_id: str) -> Task | None:
        view = await self._views.newest_run(task_id)
        if view is not None:
            return Task(task_id, None, (view,))
        asked = await self._tasks.asked(task_id)
        if asked is not None:
            return Task(task_id, None, (), asked)
        event = await self._events.of_task(task_id)
        if event is None:
            return None
        views = await asyncio.gather(*(self._views.newest_run(saga.saga_id) for saga in event.sagas))
        return Task(task_id, event, tuple(view for view in views if view is not None))


def _suspended(task: Task) -> bool:
    return any(view.run.state == "SUSPENDED" for view in task.runs)
