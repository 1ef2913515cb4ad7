"""From a step that is scheduled to the call of the users' code that does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from orjson import dumps, loads

from sagahook.saga import Saga, StepContext
from sagahook.saga import calls as saga_calls
from sagahook_runner.adapters.attempt import AttemptKey, Job, is_async
from sagahook_runner.adapters.pulse import Pulse
from sagahook_runner.domain.known_steps import known_step, terms
from sagahook_runner.domain.state import Open, SagaState, item_of
from sagahook_runner.handlers.conductor import Conductors, is_code
from sagahook_runner.handlers.playing import Conductor
from sagahook_schemas.identity import idempotency_key


def job_of(saga: Saga, state: SagaState, opened: Open, partition: int, conductors: Conductors) -> Job:
    """The attempt that the saga waits for."""
    base, index = item_of(opened.step)
    step = known_step(saga.definition, state, base)
    if step is None:
        raise AssertionError(f"the saga {state.saga_id} scheduled {opened.step}, which it does not have")
    pulse = Pulse(asyncio.get_running_loop())
    context = _context(state, opened, base, index, pulse)
    arguments = (_copy(state.result_of(opened.step)),) if opened.phase == "compensation" else ()
    timeout, retry = terms(step, opened.phase)
    played = is_code(saga)
    function = _unfound if played else _code(saga, opened, base)
    job = Job(
        key=AttemptKey.of(state.saga_id, state.run, opened),
        partition=partition,
        call=partial(function, context, *arguments),
        is_async=is_async(function),
        timeout=timeout,
        non_retryable=retry.non_retryable,
        kind=step.kind,
        heartbeat=step.heartbeat if opened.phase == "action" else None,
        pulse=pulse,
        context=context,
    )
    if not played:
        return job
    conductor = conductors.conductor(partition, state)
    return replace(job, find=partial(_found, job, conductor, opened, context, *arguments))


async def _found(job: Job, conductor: Conductor, opened: Open, context: StepContext, *arguments: Any) -> Job:
    """A function must ask for the step first: it alone holds what to call."""
    function = await conductor.call(opened.step, opened.phase)
    return replace(
        job,
        call=partial(function, context, *arguments),
        is_async=saga_calls.is_async(function),
    )


def _unfound(*_: Any) -> Any:
    raise AssertionError("a step of a function is called once the function has asked for it")


def _context(state: SagaState, opened: Open, base: str, index: int | None, pulse: Pulse) -> StepContext:
    items = state.items.get(base)
    key = idempotency_key(state.saga_id, state.run, opened.step, opened.phase)
    return StepContext(
        saga=state.name,
        saga_id=state.saga_id,
        run=state.run,
        step=opened.step,
        phase=opened.phase,
        attempt=opened.attempt,
        correlation_id=state.correlation_id,
        idempotency_key=key,
        action_key=key
        if opened.phase == "action"
        else idempotency_key(state.saga_id, state.run, opened.step, "action"),
        # Copies: what an action does to them is not done to the saga.
        context=_copy(dict(state.context)),
        results=_copy(dict(state.results)),
        item=_copy(items[index]) if items is not None and index is not None else None,
        index=index,
        carry=_copy(opened.carry),
        traceparent=state.traceparent or "",
        on_heartbeat=pulse.beat,
        on_progress=pulse.progress,
    )


def _code(saga: Saga, opened: Open, base: str) -> Callable[..., Any]:
    match opened.phase:
        case "action":
            return saga.action(base)
        case "prepare":
            return saga.preparation(base)
    undo: Callable[..., Any] = saga.compensation(base)
    return undo


def _copy(value: Any) -> Any:
    return loads(dumps(value)) if value else value
