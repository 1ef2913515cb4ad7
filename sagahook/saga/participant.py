"""Steps that other systems do over Kafka: how a saga declares one, and the kit for a system that is written in Python.

In the saga:

    charge = participant_step("billing", data={"order": "{order_id}"}, compensate=True)

In the other system:

    billing = Participant("billing", kafka="kafka:9092", inbox=PostgresInbox(pool))

    @billing.action("charge")
    async def charge(request: Request, connection): ...

    @billing.compensation("charge")
    async def refund(request: Request, connection): ...

    asyncio.run(billing.run())
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, ClassVar, TypeVar, Unpack

from sagahook.saga.declared import Code, DeclaredStep, Duration, StepOptions, converted, seconds
from sagahook.saga.http_templates import Fields, problems_of
from sagahook.saga.participant_consumer import StepsConsumer
from sagahook.saga.participant_handling import CompensatedBefore, Handler, Handlers, Request, utc_now
from sagahook.saga.participant_inbox import Inbox, InboxTransaction, MemoryInbox, PostgresInbox
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import CompensationDefinition, Does, Retry
from sagahook_schemas.participants import AskedPhase
from sagahook_schemas.topics import CONTEXT_LIMIT, DEFAULT_PREFIX, is_participant, steps_topic
from sagahook_schemas.values import NotKept, kept

__all__ = [
    "CompensatedBefore",
    "Inbox",
    "InboxTransaction",
    "MemoryInbox",
    "Participant",
    "ParticipantStep",
    "PostgresInbox",
    "Request",
    "participant_step",
]

log = logging.getLogger("sagahook.participant")

Data = Callable[[Any], Any] | JsonValue
Registered = TypeVar("Registered", bound=Handler)

_FORGET_SECONDS = 3600.0


class ParticipantStep(DeclaredStep):
    """See `participant_step`."""

    does: ClassVar[Does] = "participant"

    def __init__(
        self,
        participant: str,
        *,
        data: Data = None,
        compensate: bool = False,
        undo_retry: Retry | None = None,
        undo_timeout: Duration | None = None,
        **options: Unpack[StepOptions],
    ) -> None:
        super().__init__(**options)
        self.participant = participant
        self.data = data
        self.compensate = compensate
        self.undo_retry = undo_retry or self.retry
        self.undo_timeout = self.timeout if undo_timeout is None else seconds(undo_timeout)

    def details(self) -> dict[str, Any]:
        undoing = (
            CompensationDefinition(timeout=self.undo_timeout, retry=self.undo_retry)
            if self.compensate
            else None
        )
        return {"participant": self.participant, "compensation": undoing}

    def value(self) -> Code | None:
        data = self.data
        if data is None:
            return None
        if callable(data):
            return converted(data, lambda answer: kept(answer, CONTEXT_LIMIT))
        return lambda saga, ctx: kept(Fields(ctx).fill(data), CONTEXT_LIMIT)

    def problems(self) -> Iterator[str]:
        yield from super().problems()
        if not isinstance(self.participant, str) or not is_participant(self.participant):
            yield (
                f"the participant's name {self.participant!r} must be lower-case letters, digits and -, begin with "
                "a letter and have at most 64 characters"
            )
        if not callable(self.data):
            try:
                kept(self.data, CONTEXT_LIMIT)
            except NotKept as refused:
                yield f"data must be JSON, or a function of the step's context that gives it: {refused}"
            for problem in problems_of(self.data):
                yield f"data: {problem}"
        if not self.compensate and (self.undo_retry is not self.retry or self.undo_timeout != self.timeout):
            yield "undo_retry and undo_timeout are of the compensation: add compensate=True"


def participant_step(
    participant: str,
    /,
    *,
    data: Data = None,
    compensate: bool = False,
    undo_retry: Retry | None = None,
    undo_timeout: Duration | None = None,
    **options: Unpack[StepOptions],
) -> DeclaredStep:
    """Another system does the step: it is asked on `saga.steps.<participant>`, and answers on `saga.replies`.

    data: what it is told, JSON with gaps for fields of the context (`{order_id}`, see http_templates), or a function of
    the StepContext that gives it (async or not); made once, and the same for every attempt and for the compensation.
    compensate: it is asked to undo the step too, with the action's result.
    undo_retry, undo_timeout: of that; by default as the step's own. timeout: how long a reply is waited for.
    """
    return ParticipantStep(
        participant,
        data=data,
        compensate=compensate,
        undo_retry=undo_retry,
        undo_timeout=undo_timeout,
        **options,
    )


class Participant:
    """What another system does in sagas, as its handlers say.

    Each step is done effectively once: what was answered is remembered in the inbox, and answered again to whoever asks
    again. An action whose compensation came first is refused (CompensatedBefore).

    kafka: bootstrap servers. inbox: a PostgresInbox, where handlers can write in the transaction that remembers; a
    MemoryInbox for tests. group: the replicas that share the work. concurrency: steps handled at once in this process.
    remember: how long the inbox keeps an answer; longer than a saga may try the step.
    Raises ValueError for a name that cannot be a participant's.
    """

    def __init__(
        self,
        name: str,
        *,
        kafka: str,
        inbox: Inbox,
        topic_prefix: str = DEFAULT_PREFIX,
        group: str | None = None,
        concurrency: int = 16,
        remember: timedelta = timedelta(days=30),
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        steps_topic(name)
        self._inbox = inbox
        self._remember = remember
        self._now = now
        self._handlers = Handlers(name, inbox, now)
        self._consumer = StepsConsumer(
            name,
            self._handlers,
            kafka=kafka,
            topic_prefix=topic_prefix,
            group=group or f"{topic_prefix}-participant-{name}",
            concurrency=concurrency,
        )

    def action(self, step: str) -> Callable[[Registered], Registered]:
        """The function does the step: `(request)` → JSON, async or not; or async `(request, connection)`, to write in
        the inbox's own transaction. PermanentError: no retry can succeed. Raises ValueError, TypeError."""
        return self._register(step, "action")

    def compensation(self, step: str) -> Callable[[Registered], Registered]:
        """The function undoes the step, and must succeed where the step was never done (`request.result` None)."""
        return self._register(step, "compensation")

    async def run(self, stopping: asyncio.Event | None = None) -> None:
        """Handle what comes, until `stopping`; what is under way is given 10 s then. Waits while Kafka is away.

        Raises aiokafka's KafkaError where an operator must act: a topic that may not be read, for example.
        """
        forgetting = asyncio.create_task(self._forget_now_and_then())
        try:
            await self._consumer.run(stopping or asyncio.Event())
        finally:
            forgetting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await forgetting

    def _register(self, step: str, phase: AskedPhase) -> Callable[[Registered], Registered]:
        def register(function: Registered) -> Registered:
            self._handlers.add(step, phase, function)
            return function

        return register

    async def _forget_now_and_then(self) -> None:
        while True:
            try:
                await self._inbox.forget(self._now() - self._remember)
            except Exception:
                log.warning("the inbox forgot nothing this time", exc_info=True)
            await asyncio.sleep(_FORGET_SECONDS)
