"""Evaluates the triggers: the users' own code, which may be slow or fail, and then costs its own route only."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from orjson import JSONDecodeError, JSONEncodeError, dumps, loads

from sagahook.runtime.logging import get_logger
from sagahook.saga import Saga, SagaApp
from sagahook.saga.language import Handler
from sagahook_runner.adapters.execution import is_async
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import saga_id
from sagahook_schemas.paths import MISSING, identity_value, lookup
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.webhooks import RoutedSaga, RouteError, WebhookRouted

log = get_logger(__name__)

_ERROR_LIMIT = 2_000


@dataclass(frozen=True, slots=True)
class Webhook:
    """One record of `webhooks.received`."""

    envelope: Envelope
    body: bytes

    @property
    def source(self) -> str:
        return self.envelope.extension("webhooksource")

    @property
    def event_type(self) -> str:
        return self.envelope.subject


@dataclass(frozen=True, slots=True)
class Route:
    """What a webhook asked for."""

    webhook: Webhook
    starts: tuple[tuple[str, StartSaga], ...]
    routed: WebhookRouted


@dataclass(frozen=True, slots=True)
class _Call:
    """One trigger's handler for one webhook."""

    saga: Saga
    trigger: TriggerDefinition
    handler: Handler
    webhook: Webhook
    event: Any


class _HandlerFailed(Exception):
    """The route is lost and the webhook's log entry says why; other routes are not affected."""


class Triggers:
    """timeout: seconds that one handler may take."""

    def __init__(self, app: SagaApp, *, timeout: float, threads: ThreadPoolExecutor) -> None:
        self._app = app
        self._timeout = timeout
        self._threads = threads

    async def evaluate(self, webhooks: Sequence[Webhook]) -> list[Route]:
        """One route for each webhook, in their order. Never raises for what a handler does."""
        calls: list[_Call] = []
        unreadable: dict[int, str] = {}
        for webhook in webhooks:
            try:
                event = loads(webhook.body)
            except JSONDecodeError as invalid:
                unreadable[id(webhook)] = f"the body is not JSON: {invalid}"
                continue
            calls.extend(self._wanting(webhook, event))
        answers = await self._call_all(calls)
        by_webhook: dict[int, list[tuple[_Call, object]]] = {}
        for call, answer in zip(calls, answers, strict=True):
            by_webhook.setdefault(id(call.webhook), []).append((call, answer))
        return [
            _route(webhook, by_webhook.get(id(webhook), []), unreadable.get(id(webhook)))
            for webhook in webhooks
        ]

    def _wanting(self, webhook: Webhook, event: Any) -> Iterator[_Call]:
        for saga in self._app.newest():
            for index, trigger in enumerate(saga.definition.triggers):
                if trigger.wants(webhook.source, webhook.event_type):
                    yield _Call(saga, trigger, saga.handler(index), webhook, event)

    async def _call_all(self, calls: list[_Call]) -> list[object]:
        """Each handler's answer, or the _HandlerFailed that it ended in."""
        plain = [index for index, call in enumerate(calls) if not is_async(call.handler)]
        answers: list[object] = [None] * len(calls)
        coroutines = [index for index in range(len(calls)) if index not in set(plain)]
        for index, answer in zip(plain, await self._call_plain([calls[i] for i in plain]), strict=True):
            answers[index] = answer
        awaited = await asyncio.gather(*(self._call_async(calls[index]) for index in coroutines))
        for index, answer in zip(coroutines, awaited, strict=True):
            answers[index] = answer
        return answers

    async def _call_plain(self, calls: list[_Call]) -> list[object]:
        """Handlers that are not async run in a thread: all of a batch in one, because a hop costs more than
        most of them; one by one only when the batch took too long, to find the one that is to blame."""
        if not calls:
            return []
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout):
                return await loop.run_in_executor(self._threads, lambda: [_call(call) for call in calls])
        except TimeoutError:
            if len(calls) == 1:
                return [_HandlerFailed(f"TimeoutError: the trigger took more than {self._timeout:g} s")]
            return [answer for call in calls for answer in await self._call_plain([call])]

    async def _call_async(self, call: _Call) -> object:
        try:
            async with asyncio.timeout(self._timeout):
                return await call.handler(call.event)  # type: ignore[misc]  # _call_all chose the async ones
        except TimeoutError:
            return _HandlerFailed(f"TimeoutError: the trigger took more than {self._timeout:g} s")
        except Exception as raised:
            return _failure(raised)


def _call(call: _Call) -> object:
    try:
        return call.handler(call.event)
    except Exception as raised:
        return _failure(raised)


def _failure(raised: Exception) -> _HandlerFailed:
    return _HandlerFailed(f"{type(raised).__name__}: {raised}"[:_ERROR_LIMIT])


def _route(webhook: Webhook, answers: list[tuple[_Call, object]], unreadable: str | None) -> Route:
    starts: dict[str, StartSaga] = {}
    errors: list[RouteError] = []
    for call, answer in answers:
        if answer is None:
            continue
        try:
            identity, request = _start(call, answer)
        except _HandlerFailed as failed:
            errors.append(RouteError(name=call.saga.name, error=str(failed)))
            log.warning(
                "trigger.failed",
                saga=call.saga.name,
                event_id=webhook.envelope.id,
                correlation_id=webhook.envelope.correlation_id,
                error=str(failed),
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
    answers: list[tuple[_Call, object]],
    starts: dict[str, StartSaga],
    errors: list[RouteError],
) -> str | None:
    if starts:
        return None
    if errors:
        return "; ".join(f"{error.name}: {error.error}" for error in errors)
    if answers:
        return "every trigger declined it"
    kind = f"events of type {webhook.event_type!r}" if webhook.event_type else "events without a type"
    return f"no trigger wants {kind} from the source {webhook.source!r}"


def _start(call: _Call, answer: object) -> tuple[str, StartSaga]:
    """The saga's identity and its start. Raises _HandlerFailed."""
    if isinstance(answer, _HandlerFailed):
        raise answer
    if not isinstance(answer, dict):
        raise _HandlerFailed(f"the trigger must return a dict or None, not {type(answer).__name__}")
    try:
        size = len(dumps(answer))
    except JSONEncodeError as invalid:
        raise _HandlerFailed(f"the trigger's context is not JSON: {invalid}") from None
    if size > CONTEXT_LIMIT:
        raise _HandlerFailed(
            f"the trigger's context takes {size} bytes of JSON, the limit is {CONTEXT_LIMIT}"
        )
    received, saga = call.webhook.envelope, call.saga
    user = answer.get("user_id")
    return (
        saga_id(call.webhook.source, saga.name, _idempotency_value(call)),
        StartSaga(
            name=saga.name,
            version=saga.version,
            source=call.webhook.source,
            event_id=received.id,
            correlation_id=received.correlation_id,
            context=answer,
            user_id=None if user is None else str(user),
            notify_url=received.extension("notifyurl") or None,
        ),
    )


def _idempotency_value(call: _Call) -> str:
    path = call.trigger.idempotency_key
    if path is None:
        return call.webhook.envelope.id
    found = lookup(call.event, path)
    value = None if found is MISSING else identity_value(found)
    if value is None:
        raise _HandlerFailed(f"the body has no usable field {path!r}, which is the saga's idempotency key")
    return value
