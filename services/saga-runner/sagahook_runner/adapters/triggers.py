"""Evaluates the triggers: the users' own code, which may be slow or fail, and then costs its own route only."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from threading import Thread

from orjson import JSONDecodeError

from sagahook.saga import SagaApp
from sagahook.saga.declared import plain
from sagahook_runner.adapters.routes import (
    Answer,
    Call,
    HandlerFailed,
    Route,
    Undecided,
    Webhook,
    failure,
    idempotency_value,
    identity_for,
    is_async,
    limit_key_for,
    route,
)

__all__ = ["Route", "Triggers", "Webhook"]

_MAX_HANGING = 8
"""Threads that may hang in the triggers of one saga; beyond them its routes fail at once."""


class Triggers:
    """timeout: seconds that one handler may take."""

    def __init__(self, app: SagaApp, *, timeout: float) -> None:
        self._app = app
        self._timeout = timeout
        self._threads = _Threads()
        self._hanging: Counter[str] = Counter()

    async def evaluate(self, webhooks: Sequence[Webhook]) -> list[Route]:
        """One route for each webhook, in their order. Never raises for what a handler does."""
        calls: list[Call] = []
        unreadable: dict[int, str] = {}
        for webhook in webhooks:
            if webhook.refused:
                unreadable[id(webhook)] = webhook.refused
            if webhook.refused or webhook.recorded_only:
                continue
            try:
                wanting = list(self._wanting(webhook))
                if not wanting:
                    webhook.event()
            except JSONDecodeError as invalid:
                unreadable[id(webhook)] = f"the body is not JSON: {invalid}"
            except ValueError as invalid:
                unreadable[id(webhook)] = f"the body is not what its content type says: {invalid}"
            else:
                calls.extend(wanting)
        answers = await self._call_all(calls)
        by_webhook: dict[int, list[tuple[Call, object]]] = {}
        for call, answer in zip(calls, answers, strict=True):
            by_webhook.setdefault(id(call.webhook), []).append((call, answer))
        return [
            route(webhook, by_webhook.get(id(webhook), []), unreadable.get(id(webhook)))
            for webhook in webhooks
        ]

    def _wanting(self, webhook: Webhook) -> Iterator[Call]:
        """Raises ValueError."""
        for saga in self._app.newest():
            for index, trigger in enumerate(saga.definition.triggers):
                if trigger.wants(webhook.source, webhook.event_type):
                    event = webhook.event()
                    yield Call(
                        saga,
                        trigger,
                        saga.handler(index),
                        saga.conditions[index],
                        saga.keys[index],
                        webhook,
                        event,
                        idempotency_value(webhook, trigger, event),
                        limit_key_for(saga, trigger, event),
                    )

    async def _call_all(self, calls: list[Call]) -> list[object]:
        """Of each call the Answer, None where the event is not wanted, or the HandlerFailed that it ended in."""
        plain_ones = [index for index, call in enumerate(calls) if call.begins_in_thread]
        told = await self._call_plain([calls[index] for index in plain_ones])
        of_plain = dict(zip(plain_ones, told, strict=True))
        answers = [
            of_plain[index] if index in of_plain else Undecided(identity_for(call))
            for index, call in enumerate(calls)
        ]
        left = [(index, answer) for index, answer in enumerate(answers) if isinstance(answer, Undecided)]
        awaited = await asyncio.gather(
            *(self._call_async(calls[index], answer.identity) for index, answer in left)
        )
        for (index, _), answer in zip(left, awaited, strict=True):
            answers[index] = answer
        return answers

    async def _call_plain(self, calls: list[Call]) -> list[object]:
        """What is not async runs in a thread: all of a batch in one, because a hop costs more than most of them;
        one by one only when the batch took too long, to find the one that is to blame."""
        answers: list[object] = [None] * len(calls)
        free = [index for index, call in enumerate(calls) if self._hanging[call.saga.name] < _MAX_HANGING]
        for index in set(range(len(calls))) - set(free):
            answers[index] = HandlerFailed("TimeoutError: the trigger still hangs on earlier webhooks")
        told = await self._call_in_thread([calls[index] for index in free])
        for index, answer in zip(free, told, strict=True):
            answers[index] = answer
        return answers

    async def _call_in_thread(self, calls: list[Call]) -> list[object]:
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

    async def _call_async(self, call: Call, identity: str | HandlerFailed) -> object:
        deadline = asyncio.timeout(self._timeout)
        try:
            async with deadline:
                context = await call.handler(call.event)  # type: ignore[misc]  # _call_all chose the async ones
                return None if context is None else Answer(context, identity)
        except (Exception, asyncio.CancelledError, SystemExit) as raised:
            if _is_cancelled():
                raise
            return self._too_slow() if deadline.expired() else failure(raised)

    def _too_slow(self) -> HandlerFailed:
        return HandlerFailed(f"TimeoutError: the trigger took more than {self._timeout:g} s")


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


def _call(call: Call) -> object:
    """Everything about a trigger that is not async."""
    try:
        if call.wanted is not None and not plain(call.wanted(call.event)):
            return None
        identity = identity_for(call)
        if is_async(call.handler):
            return Undecided(identity)
        context = call.handler(call.event)
        return None if context is None else Answer(context, identity)
    except BaseException as raised:  # also SystemExit: it ends the thread only, and this route
        return failure(raised)


def _is_cancelled() -> bool:
    """Whether the running task was cancelled from outside, and not by its own time-out or by what it runs."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
