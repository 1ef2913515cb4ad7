"""What a webhook led to: the starts that its triggers' answers ask for, and what the log says of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sagahook.runtime.logging import get_logger, trace_fields
from sagahook.saga import Saga
from sagahook.saga.declared import is_async as gives_coroutine
from sagahook.saga.declared import plain
from sagahook.saga.language import Handler
from sagahook.saga.marks import KeyFunction, Wanted
from sagahook_runner.domain.attributes import search_attributes
from sagahook_schemas.bodies import event_of
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.erasable import KEY_EXTENSION
from sagahook_schemas.identity import limit_key, saga_id
from sagahook_schemas.paths import MISSING, identity_of, identity_value, lookup
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept, told
from sagahook_schemas.webhooks import RoutedSaga, RouteError, WebhookRouted

log = get_logger(__name__)

_ERROR_LIMIT = 2_000

_LIMIT_VALUE_LENGTH = 1_000
"""Characters of the value that limits are counted by: it stands in the keys of records."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """One record of `webhooks.received`.

    first: the event that it repeats, "" where it repeats none: what it starts joins what that one started. refused:
    why nothing is to start for it, and the sender is wrong.
    """

    envelope: Envelope
    body: bytes
    first: str = ""
    refused: str = ""

    @property
    def source(self) -> str:
        return self.envelope.extension("webhooksource")

    @property
    def event_type(self) -> str:
        return self.envelope.subject

    @property
    def data_key(self) -> str:
        """Of the key that its body is sealed under, until it is opened; else ""."""
        return self.envelope.extension(KEY_EXTENSION)

    @property
    def recorded_only(self) -> str:
        """Why nothing is to start for it, and nobody is wrong; else ""."""
        return self.envelope.extension("recordedonly")

    def event(self) -> Any:
        """What a trigger is given; a copy of its own each time. Raises ValueError."""
        return event_of(self.envelope.content_type, self.body)


@dataclass(frozen=True, slots=True)
class Route:
    """What a webhook asked for."""

    webhook: Webhook
    starts: tuple[tuple[str, StartSaga], ...]
    routed: WebhookRouted


class Call(NamedTuple):
    """One trigger for one webhook.

    event: a copy of its own, so that what a handler does to it is not seen by another. identity: the value of
    the idempotency key, limit_key: whose limits count; both taken before any of the author's code had the event.
    identity None where the body has none that is usable, or where `key` makes it.
    """

    saga: Saga
    trigger: TriggerDefinition
    handler: Handler
    wanted: Wanted | None
    key: KeyFunction | None
    webhook: Webhook
    event: Any
    identity: str | None
    limit_key: str | None

    @property
    def begins_in_thread(self) -> bool:
        """Whether some of it is not async, and so must not hold up the loop."""
        return self.wanted is not None or self.key is not None or not is_async(self.handler)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler made of the event. identity: of its saga, or why there is none."""

    context: object
    identity: str | HandlerFailed


class Undecided:
    """The event is wanted, and its handler, which is async, has not been asked yet."""

    def __init__(self, identity: str | HandlerFailed) -> None:
        self.identity = identity


class HandlerFailed(Exception):
    """The route is lost and the webhook's log entry says why; other routes are not affected."""


@lru_cache(maxsize=1024)
def is_async(handler: Handler) -> bool:
    return gives_coroutine(handler)


def identity_for(call: Call) -> str | HandlerFailed:
    """Who declines needs no identity: that there is none is told only of an event that is wanted."""
    if call.key is None:
        if call.identity is not None:
            return call.identity
        paths = " or ".join(map(repr, call.trigger.identifying))
        return HandlerFailed(f"the body has no usable field {paths}, which is the saga's idempotency key")
    try:
        made = plain(call.key(call.event))
        identity = identity_value(made)
        if identity is not None:
            identity.encode()
            return identity
    except BaseException as raised:  # also SystemExit: it ends this route only
        return HandlerFailed(f"the function that makes the idempotency key: {told(raised, _ERROR_LIMIT)}")
    return HandlerFailed(
        "the function that makes the idempotency key must return a string, a boolean or a number that needs no "
        f"rounding, not {type(made).__name__}"
    )


def failure(raised: BaseException) -> HandlerFailed:
    return HandlerFailed(told(raised, _ERROR_LIMIT))


def route(webhook: Webhook, answers: list[tuple[Call, object]], unreadable: str | None) -> Route:
    starts: dict[str, StartSaga] = {}
    errors: list[RouteError] = []
    for call, answer in answers:
        if answer is None:
            continue
        try:
            identity, request = _start(call, answer)
        except HandlerFailed as failed:
            errors.append(RouteError(name=call.saga.name, error=str(failed)))
            log.warning(
                "trigger.failed",
                saga=call.saga.name,
                event_id=webhook.envelope.id,
                correlation_id=webhook.envelope.correlation_id,
                error=str(failed),
                **trace_fields(webhook.envelope.traceparent),
            )
        else:
            # Two triggers of one saga may want the same webhook: it starts once.
            starts.setdefault(identity, request)
    routed = WebhookRouted(
        source=webhook.source,
        outcome="triggered" if starts else "failed" if errors or unreadable else "ignored",
        sagas=tuple(RoutedSaga(saga_id=identity, name=request.name) for identity, request in starts.items()),
        errors=tuple(errors),
        reason=unreadable or _reason(webhook, answers, starts, errors),
    )
    return Route(webhook, tuple(starts.items()), routed)


def _reason(
    webhook: Webhook,
    answers: list[tuple[Call, object]],
    starts: dict[str, StartSaga],
    errors: list[RouteError],
) -> str | None:
    if starts:
        return None
    if errors:
        return "; ".join(f"{error.name}: {error.error}" for error in errors)
    if webhook.recorded_only:
        return webhook.recorded_only
    if answers:
        return "every trigger declined it"
    kind = f"events of type {webhook.event_type!r}" if webhook.event_type else "events without a type"
    return f"no trigger wants {kind} from the source {webhook.source!r}"


def _start(call: Call, answer: object) -> tuple[str, StartSaga]:
    """The saga's identity and its start. Raises HandlerFailed."""
    if isinstance(answer, HandlerFailed):
        raise answer
    if not isinstance(answer, Answer) or not isinstance(answer.context, dict):
        given = answer.context if isinstance(answer, Answer) else answer
        raise HandlerFailed(f"the trigger must return a dict or None, not {type(given).__name__}")
    if isinstance(answer.identity, HandlerFailed):
        raise answer.identity
    if call.limit_key is not None and len(call.limit_key) > _LIMIT_VALUE_LENGTH:
        raise HandlerFailed(
            f"the value at {call.trigger.concurrency_key!r}, which limits are counted by, is too long"
        )
    try:
        context = kept(answer.context, CONTEXT_LIMIT)
    except NotKept as unfit:
        raise HandlerFailed(f"context_{unfit}") from None
    received, saga = call.webhook.envelope, call.saga
    user = answer.context.get("user_id")
    return (
        saga_id(call.webhook.source, saga.name, answer.identity),
        StartSaga(
            name=saga.name,
            version=saga.version,
            source=call.webhook.source,
            event_id=received.id,
            correlation_id=received.correlation_id,
            context=context,
            user_id=None if user is None else str(user),
            notify_url=received.extension("notifyurl") or None,
            traceparent=received.traceparent or None,
            erasure_key=received.extension(KEY_EXTENSION) or None,
            limit_key=call.limit_key,
            attributes=search_attributes(saga.definition.attributes, context),
        ),
    )


def idempotency_value(webhook: Webhook, trigger: TriggerDefinition, event: Any) -> str | None:
    if not trigger.identifying:
        return webhook.first or webhook.envelope.id
    return identity_of(lookup(event, path) for path in trigger.identifying)


def limit_key_for(saga: Saga, trigger: TriggerDefinition, event: Any) -> str | None:
    """None: it waits for nothing. Events without a value at the concurrency key share one limit."""
    if trigger.max_concurrent is None and trigger.rate_limit is None:
        return None
    found = lookup(event, trigger.concurrency_key) if trigger.concurrency_key else MISSING
    return limit_key(saga.name, None if found is MISSING else identity_value(found))
