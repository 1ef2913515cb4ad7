"""What the other services write into the log, for the tests of the tracker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import AIOKafkaProducer

from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.base import Contract, JsonValue
from sagahook_schemas.definitions import ControlKind, ControlSet, SagaDefinition
from sagahook_schemas.envelope import Envelope, Header
from sagahook_schemas.identity import Phase, partition_of, saga_event_id
from sagahook_schemas.sagas import (
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaJoined,
    SagaRolledBack,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAwaiting,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
    StepSleeping,
)
from sagahook_schemas.topics import (
    AUDIT,
    NOTIFICATIONS,
    SAGA_DEFINITIONS,
    SAGA_EVENTS,
    WEBHOOKS_RECEIVED,
    WEBHOOKS_ROUTED,
    Topic,
)
from sagahook_schemas.webhooks import HTTP_HEADERS, RoutedSaga, RouteError, WebhookRouted, received_envelope
from sagahook_tracker.domain.changes import Event

T0 = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Written:
    """A record as a service writes it. body, further: the value of a webhook's, and what its headers have besides the
    envelope."""

    topic: Topic
    key: str
    envelope: Envelope
    data: Contract | None
    body: bytes = b"{}"
    further: tuple[Header, ...] = ()

    def event(self, number: int) -> Event:
        return Event(number, self.envelope, self.data)


def received(
    event_id: str,
    correlation_id: str,
    *,
    source: str = "shop",
    event_type: str = "order_created",
    delivery_id: str = "",
    body: bytes = b"{}",
    http_headers: bytes = b"",
    time: datetime = T0,
) -> Written:
    envelope = received_envelope(
        event_id=event_id,
        source=source,
        event_type=event_type,
        time=time,
        correlation_id=correlation_id,
        content_type="application/json",
        delivery_id=delivery_id,
    )
    further = ((HTTP_HEADERS, http_headers),) if http_headers else ()
    return Written(WEBHOOKS_RECEIVED, event_id, envelope, None, body, further)


def routed(
    event_id: str,
    correlation_id: str,
    *saga_ids: str,
    outcome: str | None = None,
    reason: str | None = None,
    errors: Sequence[RouteError] = (),
    reprocess: str | None = None,
) -> Written:
    data = WebhookRouted.model_validate(
        {
            "source": "shop",
            "outcome": outcome or ("triggered" if saga_ids else "ignored"),
            "sagas": [RoutedSaga(saga_id=saga_id, name="order") for saga_id in saga_ids],
            "errors": errors,
            "reason": reason,
            "reprocess": reprocess,
        }
    )
    envelope = Envelope(
        id=f"{event_id}/routed",
        source="/sagahook/saga-runner",
        type=data.ce_type,
        time=T0,
        subject=event_id,
        correlation_id=correlation_id,
    )
    return Written(WEBHOOKS_ROUTED, event_id, envelope, data)


def deployed(definition: SagaDefinition) -> Written:
    envelope = Envelope(
        id=f"{definition.key}/deployed",
        source="/sagahook/saga-runner",
        type=definition.ce_type,
        time=T0,
        subject=definition.name,
    )
    return Written(SAGA_DEFINITIONS, definition.key, envelope, definition)


def controlled(kind: ControlKind, name: str, paused: bool, **said: Any) -> Written:
    """What an operator said of a definition or a source."""
    control = ControlSet(kind=kind, name=name, paused=paused, actor="ada", at=T0).model_copy(update=said)
    envelope = Envelope(
        id=f"{control.key}/{paused}",
        source="/sagahook/tracker",
        type=control.ce_type,
        time=T0,
        subject=control.key,
    )
    return Written(SAGA_DEFINITIONS, control.key, envelope, control)


def of_a_limit(data: Contract) -> Written:
    """What the owner of a limit writes about it: no saga's log."""
    envelope = Envelope(id="limit/1", source="/sagahook/saga-runner", type=data.ce_type, time=T0)
    return Written(SAGA_EVENTS, "limit/order", envelope, data)


def notified(event: Contract, seconds: int = 0) -> Written:
    """What the notifier tells of an attempt."""
    told: Any = event
    envelope = Envelope(
        id=f"{told.delivery_id}/{seconds}",
        source="/sagahook/notifier",
        type=event.ce_type,
        time=T0 + timedelta(seconds=seconds),
        correlation_id=told.correlation_id,
        saga_id=told.saga_id,
        run=1,
    )
    return Written(NOTIFICATIONS, told.delivery_id, envelope, event)


def audited(audit_id: str, **said: Any) -> Written:
    """What a service tells of a call that it refused, unless it says otherwise."""
    fields = {"at": T0, "service": "tracker", "action": "saga.cancel", "target": "s1", "outcome": "refused"}
    data = AuditRecorded.model_validate(fields | said)
    envelope = Envelope(id=audit_id, source="/sagahook/tracker", type=data.ce_type, time=T0)
    return Written(AUDIT, audit_id, envelope, data)


@dataclass
class SagaLog:
    """One run's log: each method adds what the owner would write, one second after the last."""

    saga_id: str
    run: int = 1
    written: list[Written] = field(default_factory=list)
    correlation_id: str = ""

    def started(self, event_id: str, correlation_id: str, **context: JsonValue) -> SagaLog:
        self.correlation_id = correlation_id
        return self.add(
            SagaStarted(
                name="order",
                version=3,
                definition_hash="h",
                source="shop",
                event_id=event_id,
                correlation_id=correlation_id,
                context=context,
                total_steps=3,
                user_id="u-1",
            )
        )

    def started_with(self, **fields: Any) -> SagaLog:
        """As `started`, with what else a start may carry."""
        self.started(fields.get("event_id", "event-1"), fields.get("correlation_id", "cid"))
        last = self.written.pop()
        assert isinstance(last.data, SagaStarted)
        return self.add(SagaStarted.model_validate(last.data.model_dump() | fields))

    def joined(self, event_id: str, correlation_id: str, state: str = "EXECUTING") -> SagaLog:
        joined = SagaJoined(
            name="order", source="shop", event_id=event_id, correlation_id=correlation_id, state=state
        )
        return self.add(joined)

    def scheduled(self, step: str, attempt: int = 1, phase: Phase = "action") -> SagaLog:
        return self.add(
            StepScheduled(step=step, phase=phase, attempt=attempt, idempotency_key="k", times_out_at=T0)
        )

    def sleeping(self, step: str) -> SagaLog:
        return self.add(StepSleeping(step=step, due_at=T0))

    def awaiting(self, step: str, signal: str) -> SagaLog:
        return self.add(StepAwaiting(step=step, signal=signal))

    def outcome(self, step: str, phase: Phase = "action") -> SagaLog:
        """The first attempt succeeds."""
        return self.add(StepCompleted(step=step, phase=phase, attempt=1))

    def done(self, *steps: str, phase: Phase = "action") -> SagaLog:
        """Each of the steps at its first attempt."""
        for step in steps:
            self.scheduled(step, phase=phase).add(StepCompleted(step=step, phase=phase, attempt=1))
        return self

    def failed_attempt(self, step: str, error: str, attempt: int = 1, phase: Phase = "action") -> SagaLog:
        return self.add(StepFailed(step=step, phase=phase, attempt=attempt, error=error))

    def retry(self, step: str, attempt: int) -> SagaLog:
        return self.add(StepRetryScheduled(step=step, phase="action", attempt=attempt, due_at=T0))

    def completed(self, result: JsonValue = None) -> SagaLog:
        return self.add(SagaCompleted(name="order", result=result))

    def compensating(self, step: str, error: str, *undo: str) -> SagaLog:
        return self.add(SagaCompensating(failed_step=step, error=error, steps=undo))

    def rolled_back(self, step: str, error: str) -> SagaLog:
        return self.add(SagaRolledBack(name="order", failed_step=step, error=error))

    def failed(self, step: str, error: str, *unresolved: str) -> SagaLog:
        return self.add(SagaFailed(name="order", failed_step=step, error=error, unresolved=unresolved))

    def suspended(self, reason: str) -> SagaLog:
        return self.add(SagaSuspended(reason=reason))

    def declined(self, step: str = "charge", error: str = "Declined: too much") -> SagaLog:
        """The step fails for good after `reserve`, which is undone."""
        self.done("reserve").scheduled(step).failed_attempt(step, error).compensating(step, error, "reserve")
        return self.done("reserve", phase="compensation").rolled_back(step, error)

    def add(self, data: Contract) -> SagaLog:
        sequence = len(self.written) + 1
        envelope = Envelope(
            id=saga_event_id(self.saga_id, self.run, sequence),
            source="/sagahook/saga-runner",
            type=data.ce_type,
            time=T0 + timedelta(seconds=sequence),
            subject="order",
            correlation_id=data.correlation_id if isinstance(data, SagaJoined) else self.correlation_id,
            saga_id=self.saga_id,
            run=self.run,
            sequence=sequence,
        )
        self.written.append(Written(SAGA_EVENTS, self.saga_id, envelope, data))
        return self


@dataclass
class LogWriter:
    """Writes to the topics of a prefix, saga events in transactions, as the services do."""

    producer: AIOKafkaProducer
    transactional: AIOKafkaProducer
    prefix: str
    partitions: int

    async def write(self, records: Iterable[Written]) -> None:
        """In their order, waiting for each topic's change: what comes later is later in the log."""
        run: list[Written] = []
        for record in records:
            if run and (run[-1].topic is WEBHOOKS_RECEIVED) != (record.topic is WEBHOOKS_RECEIVED):
                await self._write_run(run)
                run = []
            run.append(record)
        if run:
            await self._write_run(run)

    async def _write_run(self, records: Sequence[Written]) -> None:
        if records[0].topic is WEBHOOKS_RECEIVED:
            for sent in [await self._send(self.producer, record) for record in records]:
                await sent
            return
        async with self.transactional.transaction():
            for record in records:
                await self._send(self.transactional, record)

    async def _send(self, producer: AIOKafkaProducer, record: Written):  # type: ignore[no-untyped-def]  # aiokafka's future
        return await producer.send(
            record.topic.name(self.prefix),
            key=record.key.encode(),
            value=record.body if record.data is None else record.data.to_json(),
            headers=[*record.envelope.to_headers(), *record.further],
            partition=partition_of(record.key, self.partitions),
        )


@asynccontextmanager
async def open_writer(bootstrap: str, prefix: str, partitions: int) -> AsyncIterator[LogWriter]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    # The broker is still writing the markers of one transaction when the next begins: asked again at once.
    transactional = AIOKafkaProducer(
        bootstrap_servers=bootstrap, transactional_id=f"{prefix}-test", retry_backoff_ms=5
    )
    async with producer, transactional:
        yield LogWriter(producer, transactional, prefix, partitions)
