"""From the records of a batch to the rows that they change.

Each table is told by one topic alone: `webhooks` by webhooks.received, `routes` by webhooks.routed, `runs` and
`links` by saga.events, `definitions` and `controls` by saga.definitions. So the order in which topics are read
cannot matter, and a reader joins the tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from sagahook_schemas.base import Contract
from sagahook_schemas.definitions import ControlSet, SagaDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.sagas import SagaJoined, SagaStarted
from sagahook_schemas.steps import StepRetryScheduled
from sagahook_schemas.webhooks import RECEIVED, RoutedSaga, RouteError, WebhookRouted
from sagahook_tracker.domain.evolve import evolve
from sagahook_tracker.domain.runs import FINAL, Run, RunKey


@dataclass(frozen=True, slots=True)
class Event:
    """One decoded record. number: from its position. data: None for a received webhook, whose body the
    views do not keep."""

    number: int
    envelope: Envelope
    data: Contract | None

    @property
    def run(self) -> RunKey | None:
        """The run whose log the event belongs to."""
        return (self.envelope.saga_id, self.envelope.run) if self.envelope.saga_id else None


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event that was received."""

    number: int
    event_id: str
    source: str
    correlation_id: str
    event_type: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Route:
    """What a webhook asked for, or why nothing."""

    event_id: str
    outcome: str
    reason: str | None
    sagas: tuple[RoutedSaga, ...]
    errors: tuple[RouteError, ...]
    routed_at: datetime


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


@dataclass(slots=True)
class Changes:
    """The rows that a batch adds or replaces, each once.

    ended: runs that became final in this batch. waited_for: correlation ids whose answer may have become
    final for another reason. retries: how often each saga's steps were given another attempt.
    """

    webhooks: dict[str, Webhook] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    links: dict[tuple[str, str, int], Link] = field(default_factory=dict)
    runs: dict[RunKey, Run] = field(default_factory=dict)
    definitions: dict[str, Deployed] = field(default_factory=dict)
    controls: dict[str, Controlled] = field(default_factory=dict)
    ended: set[RunKey] = field(default_factory=set)
    waited_for: set[str] = field(default_factory=set)
    retries: Counter[str] = field(default_factory=Counter)


def fold(events: Iterable[Event], known: Mapping[RunKey, Run]) -> Changes:
    """known: the runs of the events as the views have them; a run that is absent begins in this batch.
    Events of one partition come in its order; the partitions may be mixed at will. What a limit's or a partition's
    owner writes about itself is of no saga, and is passed over."""
    changes = Changes()
    for event in events:
        envelope = event.envelope
        if envelope.type == RECEIVED:
            changes.webhooks.setdefault(envelope.id, _webhook(event))
        elif isinstance(event.data, WebhookRouted):
            changes.routes[envelope.subject] = _route(envelope, event.data)
            changes.waited_for.add(envelope.correlation_id)
        elif isinstance(event.data, SagaDefinition):
            told = Deployed(event.number, event.data, event.data.deployed_at or envelope.time)
            changes.definitions[event.data.key] = told
        elif isinstance(event.data, ControlSet):
            changes.controls[event.data.key] = Controlled(event.number, event.data)
        elif event.data is not None and event.run is not None:
            _fold_saga_event(changes, known, event, event.run, event.data)
    return changes


def _fold_saga_event(
    changes: Changes, known: Mapping[RunKey, Run], event: Event, key: RunKey, data: Contract
) -> None:
    before = changes.runs.get(key) or known.get(key)
    after = evolve(before, event.envelope, data, event.number)
    changes.runs[key] = after
    if after.state in FINAL and (before is None or before.state not in FINAL):
        changes.ended.add(key)
        if after.parent is not None and after.correlation_id is not None:
            changes.waited_for.add(after.correlation_id)
    elif after.state not in FINAL:
        changes.ended.discard(key)  # within the batch it ended, and goes on after all
    # A child is its parent's: no webhook asked for it.
    if isinstance(data, SagaJoined) or (isinstance(data, SagaStarted) and data.parent is None):
        link = Link(data.event_id, *key, data.correlation_id, event.envelope.time)
        changes.links.setdefault((link.event_id, *key), link)
    if isinstance(data, StepRetryScheduled):
        changes.retries[after.name] += 1
    if isinstance(data, SagaJoined):
        changes.waited_for.add(data.correlation_id)


def _webhook(event: Event) -> Webhook:
    envelope = event.envelope
    return Webhook(
        number=event.number,
        event_id=envelope.id,
        source=envelope.extension("webhooksource"),
        correlation_id=envelope.correlation_id,
        event_type=envelope.subject,
        received_at=envelope.time,
    )


def _route(envelope: Envelope, routed: WebhookRouted) -> Route:
    return Route(
        event_id=envelope.subject,
        outcome=routed.outcome,
        reason=routed.reason,
        sagas=routed.sagas,
        errors=routed.errors,
        routed_at=envelope.time,
    )
