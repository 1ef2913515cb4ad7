"""From the log's events to deliveries: pure. What is already there arrives as `Known`, what is to be stored
leaves as `Plan`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from sagahook.runtime.sources import Sources
from sagahook_notifier.domain.endpoints import (
    FINAL_TYPES,
    PayloadFormat,
    Subscriber,
    check_url,
    fine_type,
)
from sagahook_notifier.domain.payloads import Limits, Payload, fields_of, render
from sagahook_notifier.domain.retention import BEGINNING
from sagahook_notifier.domain.sagas import FINAL, SagaView, crossed, evolve
from sagahook_notifier.domain.urls import InvalidUrl
from sagahook_schemas import sagas, steps
from sagahook_schemas.base import Contract
from sagahook_schemas.codec import CONTRACTS
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import delivery_id, notify_endpoint_id

Event = tuple[Envelope, Contract]


@dataclass(frozen=True, slots=True)
class NotifyEndpoint:
    """An endpoint that a webhook named for itself; what is sent to it is signed with its source's secret."""

    endpoint_id: str
    url: str
    source: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """Such an endpoint waits for the end of a saga, under the correlation id that named it first.

    run, sequence: the event that asked. Only what came after it counts, so that a replay finds no ends that
    the first reading did not.
    """

    saga_id: str
    endpoint_id: str
    correlation_id: str
    run: int
    sequence: int


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """`delivery_id` derives from the event and the endpoint, so that a replay arrives at the same one. traceparent: the
    event's; "" where nothing is traced."""

    delivery_id: str
    endpoint_id: str
    event_id: str
    event_type: str
    saga_id: str
    run: int
    correlation_id: str
    body: bytes
    content_type: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the store holds of a batch's sagas, and the endpoints that hear of every saga. fence: every event from
    before it was read once, and what was made of it may be gone."""

    views: Mapping[str, SagaView]
    subscriptions: Sequence[Subscription]
    subscribers: Sequence[Subscriber]
    fence: datetime = BEGINNING


@dataclass(slots=True)
class Plan:
    """What a batch of events changes. Storing it twice changes nothing."""

    views: dict[str, SagaView] = field(default_factory=dict)
    endpoints: dict[str, NotifyEndpoint] = field(default_factory=dict)
    subscriptions: list[Subscription] = field(default_factory=list)
    deliveries: list[NewDelivery] = field(default_factory=list)


_FOLDED = frozenset(
    contract.ce_type
    for contract in (
        sagas.SagaStarted,
        sagas.SagaJoined,
        sagas.SagaCompensating,
        sagas.SagaCompleted,
        sagas.SagaRolledBack,
        sagas.SagaFailed,
        sagas.SagaSuspended,
        sagas.SagaProgressed,
        steps.StepCompleted,
        steps.StepSkipped,
    )
)


def types_to_pass_over(subscribers: Sequence[Subscriber]) -> frozenset[str]:
    """The events that change nothing of what is remembered of a saga, and that nobody asked for. An unknown type
    is none of them: it must not be passed over in silence."""
    return frozenset(
        ce_type
        for ce_type in CONTRACTS.keys() - _FOLDED
        if not any(subscriber.asked_for(fine_type(ce_type)) for subscriber in subscribers)
    )


def plan(events: Iterable[Event], known: Known, sources: Sources, limits: Limits) -> Plan:
    """What becomes of a batch. Events that were folded in before are passed over; of those behind the fence
    nothing is told again."""
    made = Plan()
    waiting: dict[str, dict[str, Subscription]] = {}
    for subscription in known.subscriptions:
        waiting.setdefault(subscription.saga_id, {})[subscription.endpoint_id] = subscription

    for envelope, event in events:
        saga = envelope.saga_id
        before = made.views.get(saga) or known.views.get(saga)
        if before is not None and before.has_seen(envelope):
            continue
        view = evolve(before, envelope, event)
        made.views[saga] = view

        asking = _notify_endpoint(event, sources)
        if asking is not None and asking.endpoint_id not in waiting.setdefault(saga, {}):
            subscription = Subscription(
                saga, asking.endpoint_id, envelope.correlation_id, envelope.run, envelope.sequence
            )
            waiting[saga][asking.endpoint_id] = subscription
            made.endpoints[asking.endpoint_id] = asking
            made.subscriptions.append(subscription)

        if envelope.time < known.fence:
            continue
        marks = crossed(before, view)
        types = event_types(event, marks)
        told = _subscribers_told(types, envelope, view, known.subscribers)
        told += _callers_told(types, envelope, view, asking, waiting.get(saga, {}).values())
        made.deliveries += _deliveries(told, Payload(envelope, event, view, marks), limits)
    return made


def event_types(event: Contract, marks: tuple[float, ...]) -> tuple[str, ...]:
    """An event's outbound names, the coarse before the fine: an endpoint hears of one event once. marks: those that
    the saga's progress passed by it."""
    fine = fine_type(event.ce_type)
    match event:
        case sagas.SagaStarted():
            return ("task_started", fine)
        case sagas.SagaCompleted():
            return ("task_completed", fine)
        case sagas.SagaRolledBack() | sagas.SagaFailed():
            return ("task_failed", fine)
        case _:
            return ("task_progress", fine) if marks else (fine,)


@dataclass(frozen=True, slots=True)
class _Told:
    endpoint_id: str
    event_type: str
    correlation_id: str
    payload_format: PayloadFormat = "standard"


def _subscribers_told(
    types: tuple[str, ...], envelope: Envelope, view: SagaView, subscribers: Sequence[Subscriber]
) -> list[_Told]:
    told = []
    for subscriber in subscribers:
        name = subscriber.type_for(types, view.source, view.name, envelope.time)
        if name is not None and _wanted(subscriber, name, envelope, view):
            told.append(
                _Told(subscriber.endpoint_id, name, envelope.correlation_id, subscriber.payload_format)
            )
    return told


def _wanted(subscriber: Subscriber, name: str, envelope: Envelope, view: SagaView) -> bool:
    condition = subscriber.condition
    return condition is None or condition.matches(fields_of(name, envelope.correlation_id, view))


def _callers_told(
    types: tuple[str, ...],
    envelope: Envelope,
    view: SagaView,
    asking: NotifyEndpoint | None,
    waiting: Iterable[Subscription],
) -> list[_Told]:
    """Those that named a URL hear of the end: all who wait for it when it comes, and one that asks after it at
    once, by the event that asks."""
    if types[0] in FINAL_TYPES:
        return [
            _Told(waiter.endpoint_id, types[0], waiter.correlation_id)
            for waiter in waiting
            if (waiter.run, waiter.sequence) < (envelope.run, envelope.sequence)
        ]
    if asking is not None and view.state in FINAL:
        end = "task_completed" if view.state == "COMPLETED" else "task_failed"
        return [_Told(asking.endpoint_id, end, envelope.correlation_id)]
    return []


def _deliveries(told: Iterable[_Told], payload: Payload, limits: Limits) -> Iterator[NewDelivery]:
    """What is said alike to several endpoints is written once."""
    written: dict[tuple[PayloadFormat, str, str], tuple[bytes, str]] = {}
    for each in told:
        alike = (each.payload_format, each.event_type, each.correlation_id)
        if alike not in written:
            written[alike] = render(*alike[:2], payload, each.correlation_id, limits)
        body, content_type = written[alike]
        yield NewDelivery(
            delivery_id=delivery_id(payload.envelope.id, each.endpoint_id),
            endpoint_id=each.endpoint_id,
            event_id=payload.envelope.id,
            event_type=each.event_type,
            saga_id=payload.view.saga_id,
            run=payload.view.run,
            correlation_id=each.correlation_id,
            body=body,
            content_type=content_type,
            traceparent=payload.envelope.traceparent,
        )


def _notify_endpoint(event: Contract, sources: Sources) -> NotifyEndpoint | None:
    """The endpoint that the event's webhook asked for, where its source may ask and can sign."""
    if not isinstance(event, sagas.SagaStarted | sagas.SagaJoined) or event.notify_url is None:
        return None
    source = sources.get(event.source)
    if source is None or not source.allow_notify_url or source.secret is None:
        return None
    try:
        check_url(event.notify_url)
    except InvalidUrl:
        return None
    return NotifyEndpoint(notify_endpoint_id(event.source, event.notify_url), event.notify_url, event.source)
