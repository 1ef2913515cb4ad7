"""Evaluates the triggers: the users' own code, which may be slow or fail, and then costs its own route only."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Thread
from typing import Any

from orjson import JSONDecodeError, loads

from sagahook.runtime.logging import get_logger
from sagahook.saga import Saga, SagaApp
from sagahook.saga.language import Handler
from sagahook_runner.adapters.execution import is_async, is_cancelled
from sagahook_schemas.commands import StartSaga
from sagahook_schemas.definitions import TriggerDefinition
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.identity import saga_id
from sagahook_schemas.paths import MISSING, identity_value, lookup
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept, told
from sagahook_schemas.webhooks import RoutedSaga, RouteError, WebhookRouted

log = get_logger(__name__)

_ERROR_LIMIT = 2_000

_MAX_HANGING = 8
"""Threads that may hang in the triggers of one saga; beyond them its routes fail at once."""


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
    """One trigger's handler for one webhook.

    event: a copy of its own, so that what a handler does to it is not seen by another. identity: the value of
    the idempotency key, taken before any handler had the event; None where the body has none that is usable.
    """

    saga: Saga
    trigger: TriggerDefinition
    handler: Handler
    webhook: Webhook
    event: Any
    identity: str | None


class _HandlerFailed(Exception):
    """The route is lost and the webhook's log entry says why; other routes are not affected."""


class Triggers:
    """timeout: seconds that one handler may take."""

    def __init__(self, app: SagaApp, *, timeout: float) -> None:
        self._app = app
        self._timeout = timeout
        self._threads = _Threads()
        self._hanging: Counter[str] = Counter()

    async def evaluate(self, webhooks: Sequence[Webhook]) -> list[Route]:
        """One route for each webhook, in their order. Never raises for what a handler does."""
        calls: list[_Call] = []
        unreadable: dict[int, str] = {}
        for webhook in webhooks:
            try:
                wanting = list(self._wanting(webhook))
                if not wanting:
                    loads(webhook.body)
            except JSONDecodeError as invalid:
                unreadable[id(webhook)] = f"the body is not JSON: {invalid}"
            else:
                calls.extend(wanting)
        answers = await self._call_all(calls)
        by_webhook: dict[int, list[tuple[_Call, object]]] = {}
        for call, answer in zip(calls, answers, strict=True):
            by_webhook.setdefault(id(call.webhook), []).append((call, answer))
        return [
            _route(webhook, by_webhook.get(id(webhook), []), unreadable.get(id(webhook)))
            for webhook in webhooks
        ]

    def _wanting(self, webhook: Webhook) -> Iterator[_Call]:
        """Raises JSONDecodeError."""
        for saga in self._app.newest():
            for index, trigger in enumerate(saga.definition.triggers):
                if trigger.wants(webhook.source, webhook.event_type):
                    event = loads(webhook.body)
                    identity = _idempotency_value(webhook, trigger, event)
                    yield _Call(saga, trigger, saga.handler(index), webhook, event, identity)

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
        answers: list[object] = [None] * len(calls)
        free = [index for index, call in enumerate(calls) if self._hanging[call.saga.name] < _MAX_HANGING]
        for index in set(range(len(calls))) - set(free):
            answers[index] = _HandlerFailed("TimeoutError: the trigger still hangs on earlier webhooks")
        told = await self._call_in_thread([calls[index] for index in free])
        for index, answer in zip(free, told, strict=True):
            answers[index] = answer
        return answers

    async def _call_in_thread(self, calls: list[_Call]) -> list[object]:
        if not calls:
            return []
        answering = self._threads.run(lambda: [_call(call) for call in calls])
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(answering)
        except TimeoutError:
            if len(calls) > 1:
                return [answer for call in calls for answer in await self._call_plain([call])]
        name = calls[0].saga.name
        self._hanging[name] += 1
        answering.add_done_callback(lambda _: self._hanging.subtract([name]))
        return [self._too_slow()]

    async def _call_async(self, call: _Call) -> object:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                return await call.handler(call.event)  # type: ignore[misc]  # _call_all chose the async ones
        except (Exception, asyncio.CancelledError, SystemExit) as raised:
            if is_cancelled():
                raise
            return self._too_slow() if deadline.expired() else _failure(raised)

    def _too_slow(self) -> _HandlerFailed:
        return _HandlerFailed(f"TimeoutError: the trigger took more than {self._timeout:g} s")


class _Threads:
    """Daemon threads that grow with need: work that never ends takes no other's place, nor delays an exit."""

    def __init__(self) -> None:
        self._idle: list[SimpleQueue[_Work]] = []

    def run(self, work: Callable[[], list[object]]) -> asyncio.Future[list[object]]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[object]] = loop.create_future()
        queue = self._idle.pop() if self._idle else self._begin()

        def finish(answers: list[object]) -> None:
            self._idle.append(queue)
            done.set_result(answers)

        queue.put((work, lambda answers: loop.call_soon_threadsafe(finish, answers)))
        return done

    def _begin(self) -> SimpleQueue[_Work]:
        queue: SimpleQueue[_Work] = SimpleQueue()
        Thread(target=_work_off, args=(queue,), name="trigger", daemon=True).start()
        return queue


_Work = tuple[Callable[[], list[object]], Callable[[list[object]], object]]


def _work_off(queue: SimpleQueue[_Work]) -> None:
    while True:
        work, finish = queue.get()
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            finish(work())


def _call(call: _Call) -> object:
    try:
        return call.handler(call.event)
    except BaseException as raised:  # also SystemExit: it ends the thread only, and this route
        return _failure(raised)


def _failure(raised: BaseException) -> _HandlerFailed:
    return _HandlerFailed(told(raised, _ERROR_LIMIT))


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
    if call.identity is None:
        path = call.trigger.idempotency_key
        raise _HandlerFailed(f"the body has no usable field {path!r}, which is the saga's idempotency key")
    try:
        context = kept(answer, CONTEXT_LIMIT)
    except NotKept as unfit:
        raise _HandlerFailed(f"context_{unfit}") from None
    received, saga = call.webhook.envelope, call.saga
    user = answer.get("user_id")
    return (
        saga_id(call.webhook.source, saga.name, call.identity),
        StartSaga(
            name=saga.name,
            version=saga.version,
            source=call.webhook.source,
            event_id=received.id,
            correlation_id=received.correlation_id,
            context=context,
            user_id=None if user is None else str(user),
            notify_url=received.extension("notifyurl") or None,
        ),
    )


def _idempotency_value(webhook: Webhook, trigger: TriggerDefinition, event: Any) -> str | None:
    if trigger.idempotency_key is None:
        return webhook.envelope.id
    found = lookup(event, trigger.idempotency_key)
    return None if found is MISSING else identity_value(found)
