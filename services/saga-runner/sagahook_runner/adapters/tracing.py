"""What log lines say of one attempt, and its span, under the trace of the webhook that its saga started for.

The trace is in the saga's log and in its snapshot (`traceparent`): so an attempt after a restart, a retry after a day
and a compensation all belong to the same trace, whichever process makes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from sagahook.runtime import telemetry
from sagahook.runtime.logging import about
from sagahook.runtime.telemetry import Attributes, is_recorded
from sagahook.saga import StepContext
from sagahook_runner.adapters.attempt import AttemptKey, Job
from sagahook_runner.domain.commands import (
    Attempt,
    AttemptContinued,
    AttemptFailed,
    AttemptLost,
    AttemptSucceeded,
)
from sagahook_runner.domain.state import item_of
from sagahook_schemas.identity import Phase

_VERBS: dict[Phase, str] = {"action": "step", "prepare": "prepare", "compensation": "compensate"}
_NAME_LENGTH = 100
"""Of an exception's class, in `error.type`."""


async def observed(job: Job, attempt: Callable[[Job], Awaitable[Attempt]]) -> Attempt:
    """The attempt. Where it is traced, what it calls is its children, and what it is given to hand on is its span."""
    about(job)
    spans, context = telemetry.spans, job.context
    if spans is None or context is None or not context.traceparent:
        return await attempt(job)
    span = None
    if is_recorded(context.traceparent):
        step, _ = item_of(job.key.step)
        name = f"{_VERBS[job.key.phase]} {step}"
        span = spans.begin(name, "internal", context.traceparent, _said(job.key, context))
    if span is None:
        with spans.within(context.traceparent):
            return await attempt(job)
    context.traceparent = span.traceparent
    try:
        with span.current():
            outcome = await attempt(job)
        span.add({"sagahook.step.outcome": _outcome(outcome)})
        if isinstance(outcome, AttemptFailed | AttemptLost):
            span.fail(_error_type(outcome))
        return outcome
    finally:
        span.end()


def _said(key: AttemptKey, context: StepContext) -> Attributes:
    return {
        "sagahook.saga.name": context.saga,
        "sagahook.saga.id": key.saga_id,
        "sagahook.saga.run": key.run,
        "sagahook.step.name": key.step,
        "sagahook.step.phase": key.phase,
        "sagahook.step.attempt": key.attempt,
        "sagahook.correlation_id": context.correlation_id,
    }


def _outcome(outcome: Attempt) -> str:
    match outcome:
        case AttemptSucceeded():
            return "succeeded"
        case AttemptContinued():
            return "continued"
        case AttemptFailed():
            return "unknown" if outcome.unknown else "failed"
        case AttemptLost():
            return "lost"


def _error_type(outcome: AttemptFailed | AttemptLost) -> str:
    """The exception's class; its text may hold what the action was given."""
    if isinstance(outcome, AttemptLost):
        return outcome.reason
    kind = outcome.error.partition(":")[0]
    return kind[:_NAME_LENGTH] if kind.isidentifier() else "error"
