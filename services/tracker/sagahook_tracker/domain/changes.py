"""From the records of a batch to the rows that they change.

Each table is told by one topic alone, and the rows of one key by one partition of it, so that the order in which
topics and partitions are read cannot matter, and a reader joins the tables. Two tables are about several topics.
`standings` is computed from the rows of the others (`touched`, `moved` say whose). `rollups` are sums, to which
is added by how much something changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sagahook_schemas.audit import AuditRecorded
from sagahook_schemas.base import Contract
from sagahook_schemas.definitions import ControlSet, SagaDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import webhook_task_id
from sagahook_schemas.notifications import DeliveryAttemptFailed, DeliveryExhausted, DeliverySucceeded
from sagahook_schemas.sagas import SagaJoined, SagaStarted
from sagahook_schemas.steps import StepRetryScheduled
from sagahook_schemas.webhooks import RECEIVED, RoutedSaga, RouteError, WebhookRouted
from sagahook_tracker.domain.attempts import Attempt, AttemptKey, attempt_key, attempted
from sagahook_tracker.domain.deliveries import Delivered, OutcomeKey, delivered
from sagahook_tracker.domain.evolve import evolve
from sagahook_tracker.domain.history import Entry, entry
from sagahook_tracker.domain.rollups import Rollups, Weight, attempt_weight, run_weight
from sagahook_tracker.domain.runs import FINAL, Run, RunKey, State


class Event(NamedTuple):
    """One decoded record. number: from its position. data: None for a received webhook, whose body the views do not
    keep. size: bytes of that body. headers: those that it was sent with, where they were recorded."""

    number: int
    envelope: Envelope
    data: Contract | None
    size: int | None = None
    headers: Mapping[str, str] | None = None

    @property
    def run(self) -> RunKey | None:
        """The run whose log the event belongs to."""
        saga_id, sequence = self.envelope.saga_id, self.envelope.sequence
        return (saga_id, self.envelope.run) if saga_id and sequence else None


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event that was received. delivery_id, task_id: None where its sender names no deliveries."""

    number: int
    event_id: str
    source: str
    correlation_id: str
    event_type: str
    received_at: datetime
    delivery_id: str | None = None
    task_id: str | None = None
    content_type: str | None = None
    size: int | None = None
    headers: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """What a webhook asked for, or why nothing. reprocess: the command by which it was routed again."""

    number: int
    event_id: str
    correlation_id: str
    outcome: str
    reason: str | None
    sagas: tuple[RoutedSaga, ...]
    errors: tuple[RouteError, ...]
    routed_at: datetime
    reprocess: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """The run that a webhook started or joined."""

    event_id: str
    saga_id: str
    run: int
    correlation_id: str
    linked_at: datetime


@dataclass(frozen=True, slots=True)
class Deployed:
    """One version of a saga, as it was deployed last."""

    number: int
    definition: SagaDefinition
    deployed_at: datetime


@dataclass(frozen=True, slots=True)
class Controlled:
    """What an operator said last of a definition or a source."""

    number: int
    control: ControlSet


@dataclass(frozen=True, slots=True)
class Audited:
    """Who was refused, or did what. audit_id: the record's own, by which one that is told twice is known."""

    audit_id: str
    number: int
    told: AuditRecorded


@dataclass(slots=True)
class Changes:
    """The rows that a batch adds or replaces, each once.

    ended: runs that became final in this batch. waited_for: correlation ids whose answer may have become final for
    another reason than that, or than how a webhook of theirs stands now. retries: how often each saga's steps were
    given another attempt.
    touched: events that stand otherwise now, for all that is known here. moved: runs that ended, or ended otherwise, or
    go on after all, so that those events do that are linked to them.
    """

    webhooks: dict[str, Webhook] = field(default_factory=dict)
    routes: dict[tuple[str, int], Route] = field(default_factory=dict)
    links: dict[tuple[str, str, int], Link] = field(default_factory=dict)
    runs: dict[RunKey, Run] = field(default_factory=dict)
    history: list[Entry] = field(default_factory=list)
    attempts: dict[AttemptKey, Attempt] = field(default_factory=dict)
    definitions: dict[str, Deployed] = field(default_factory=dict)
    controls: dict[str, Controlled] = field(default_factory=dict)
    deliveries: dict[OutcomeKey, Delivered] = field(default_factory=dict)
    audit: dict[str, Audited] = field(default_factory=dict)
    rollups: Rollups = field(default_factory=Rollups)
    ended: set[RunKey] = field(default_factory=set)
    waited_for: set[str] = field(default_factory=set)
    touched: set[str] = field(default_factory=set)
    moved: set[RunKey] = field(default_factory=set)
    retries: Counter[str] = field(default_factory=Counter)


def fold(events: Iterable[Event], known: Mapping[RunKey, Run]) -> Changes:
    """known: the runs of the events as the views have them, the caller's own, which are changed; a run that is absent
    begins in this batch. Events of one partition come in its order; the partitions may be mixed at will. What a
    limit's or a partition's owner writes about itself is of no saga, and is passed over."""
    changes = Changes()
    before: dict[RunKey, _Before] = {}
    for event in events:
        envelope, data = event.envelope, event.data
        if envelope.sequence and envelope.saga_id and data is not None:
            _fold_saga_event(changes, known, before, event, data)
        elif envelope.type == RECEIVED:
            changes.webhooks.setdefault(envelope.id, _webhook(event))
            changes.touched.add(envelope.id)
        elif isinstance(data, WebhookRouted):
            changes.routes[envelope.subject, event.number] = _route(event, data)
            changes.touched.add(envelope.subject)
        else:
            _fold_other(changes, event)
    for key, earlier in before.items():
        _compare(changes, key, earlier)
    return changes


class _Before(NamedTuple):
    """How a run counted and stood before the batch."""

    weight: Weight | None
    end: tuple[State, datetime | None] | None


def _fold_saga_event(
    changes: Changes, known: Mapping[RunKey, Run], before: dict[RunKey, _Before], event: Event, data: Contract
) -> None:
    number, envelope = event.number, event.envelope
    key = envelope.saga_id, envelope.run
    run = changes.runs.get(key)
    if run is None:
        run = known.get(key)
        before[key] = _Before(None, None) if run is None else _Before(run_weight(run), _end(run))
    was_final = run is not None and run.state in FINAL
    if run is not None and envelope.sequence <= run.sequence:
        return  # it was folded before
    run = changes.runs[key] = evolve(run, envelope, data, number)
    changes.history.append(entry(run, envelope, data, number))
    if run.state not in FINAL:
        changes.ended.discard(key)  # within the batch it ended, and goes on after all
    elif not was_final:
        changes.ended.add(key)
        if run.parent is not None and run.correlation_id is not None:
            changes.waited_for.add(run.correlation_id)
    if (attempt := attempt_key(envelope, data)) is not None:
        told = attempted(changes.attempts.get(attempt), attempt, envelope, data, number)
        changes.attempts[attempt] = told
        if told.completed_at is not None:
            changes.rollups.move(None, attempt_weight(run, told))
    elif isinstance(data, SagaStarted | SagaJoined):
        _link(changes, run, envelope, data)
    elif isinstance(data, StepRetryScheduled):
        changes.retries[run.name] += 1


def _link(changes: Changes, run: Run, envelope: Envelope, data: SagaStarted | SagaJoined) -> None:
    """A child is its parent's: no webhook asked for it."""
    if isinstance(data, SagaJoined):
        changes.waited_for.add(data.correlation_id)
        changes.touched.add(data.event_id)
    elif data.parent is not None:
        return
    elif run.run > 1:  # its first run is as open as one that was only asked for
        changes.touched.add(data.event_id)
    link = Link(data.event_id, *run.key, data.correlation_id, envelope.time)
    changes.links.setdefault((link.event_id, *run.key), link)


def _compare(changes: Changes, key: RunKey, before: _Before) -> None:
    run = changes.runs.get(key)
    if run is None:
        return
    changes.rollups.move(before.weight, run_weight(run))
    if _end(run) != before.end:
        changes.moved.add(key)


def _end(run: Run) -> tuple[State, datetime | None] | None:
    return (run.state, run.finished_at) if run.state in FINAL else None


def _fold_other(changes: Changes, event: Event) -> None:
    number, envelope, data = event.number, event.envelope, event.data
    match data:
        case SagaDefinition():
            changes.definitions[data.key] = Deployed(number, data, data.deployed_at or envelope.time)
        case ControlSet():
            changes.controls[data.key] = Controlled(number, data)
        case DeliverySucceeded() | DeliveryAttemptFailed() | DeliveryExhausted():
            told = delivered(envelope, data, number)
            changes.deliveries.setdefault(told.key, told)
        case AuditRecorded():
            changes.audit.setdefault(envelope.id, Audited(envelope.id, number, data))


def _webhook(event: Event) -> Webhook:
    envelope = event.envelope
    source, delivery_id = envelope.extension("webhooksource"), envelope.extension("deliveryid")
    return Webhook(
        number=event.number,
        event_id=envelope.id,
        source=source,
        correlation_id=envelope.correlation_id,
        event_type=envelope.subject,
        received_at=envelope.time,
        delivery_id=delivery_id or None,
        task_id=webhook_task_id(source, delivery_id) if delivery_id else None,
        content_type=envelope.content_type,
        size=event.size,
        headers=event.headers,
    )


def _route(event: Event, routed: WebhookRouted) -> Route:
    envelope = event.envelope
    return Route(
        number=event.number,
        event_id=envelope.subject,
        correlation_id=envelope.correlation_id,
        outcome=routed.outcome,
        reason=routed.reason,
        sagas=routed.sagas,
        errors=routed.errors,
        routed_at=envelope.time,
        reprocess=routed.reprocess,
    )
