"""What becomes of one request: the handler's answer, or the one that is remembered."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from inspect import Parameter, iscoroutinefunction, signature
from math import isfinite
from typing import Any

from sagahook.saga.errors import PermanentError, UnknownOutcomeError
from sagahook.saga.participant_inbox import Inbox, InboxTransaction
from sagahook_schemas.base import JsonValue
from sagahook_schemas.envelope import Envelope
from sagahook_schemas.participants import AskedPhase, ParticipantReplied, ParticipantRequested
from sagahook_schemas.topics import CONTEXT_LIMIT
from sagahook_schemas.values import NotKept, kept, told

_ERROR_LIMIT = 2_000
_LONGEST_WAIT = 365 * 86_400.0
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class CompensatedBefore(PermanentError):
    """The step was undone before it was asked for, so it must not be done any more: its attempt had been given up."""


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt of one step that this participant is to do (phase `action`) or undo (`compensation`).

    data: what the saga hands over. result: a compensation's, of its action; None too where the action's outcome is
    unknown: undoing what was never done must succeed. idempotency_key: the same for every attempt, to be handed to
    systems beyond; action_key: that of the action, in both phases. times_out_at: no answer counts after it.
    """

    saga: str
    saga_id: str
    run: int
    step: str
    phase: AskedPhase
    attempt: int
    idempotency_key: str
    action_key: str
    data: Any
    result: Any
    times_out_at: datetime
    correlation_id: str = ""
    traceparent: str = ""

    @classmethod
    def of(cls, envelope: Envelope, requested: ParticipantRequested) -> Request:
        return cls(
            **{name: getattr(requested, name) for name in ParticipantRequested.model_fields},
            correlation_id=envelope.correlation_id,
            traceparent=envelope.traceparent,
        )


Handler = Callable[..., Awaitable[JsonValue] | JsonValue]
"""`(request)`, async or not; or async `(request, connection)`, to write in the inbox's own transaction."""


@dataclass(frozen=True, slots=True)
class _Handler:
    call: Handler
    takes_connection: bool

    async def __call__(self, request: Request, connection: Any) -> object:
        if self.takes_connection:
            return await self.call(request, connection)  # type: ignore[misc]  # checked when it was registered
        if iscoroutinefunction(self.call):
            return await self.call(request)
        return await asyncio.to_thread(self.call, request)


class Handlers:
    """What a participant can do, by step and phase."""

    def __init__(self, participant: str, inbox: Inbox, now: Callable[[], datetime]) -> None:
        self._participant = participant
        self._inbox = inbox
        self._now = now
        self._handlers: dict[tuple[str, AskedPhase], _Handler] = {}

    def add(self, step: str, phase: AskedPhase, call: Handler) -> None:
        """Raises ValueError for a second one, TypeError for one that cannot be called so."""
        if (step, phase) in self._handlers:
            raise ValueError(
                f"the participant {self._participant} has two handlers for the {phase} of {step!r}"
            )
        takes = [
            each
            for each in signature(call).parameters.values()
            if each.kind in _POSITIONAL and each.default is Parameter.empty
        ]
        if len(takes) not in (1, 2):
            raise TypeError(f"the {phase} of {step!r} must take (request) or (request, connection)")
        if len(takes) == 2 and not iscoroutinefunction(call):
            raise TypeError(f"the {phase} of {step!r} takes the connection, so it must be async")
        self._handlers[step, phase] = _Handler(call, len(takes) == 2)

    async def handle(self, request: Request, timeout: float) -> ParticipantReplied:
        """The reply, which is remembered before this returns. timeout: seconds that a handler may take.

        Raises what the inbox raises where its storage is away: nothing was then done, and it is to be asked again.
        """
        handler = self._handlers.get((request.step, request.phase))
        if handler is None:
            # Not for good: a replica that knows the step may be about to start.
            text = f"NoHandler: the participant {self._participant} has none for the {request.phase} of this step"
            return _reply(request, error=text)
        async with self._inbox.open(request.action_key) as transaction:
            known = _known(request, await transaction.replies())
            if known is not None:
                return known
            reply = await _attempt(handler, request, transaction, timeout)
            await transaction.remember(reply, self._now())
            return reply


def _known(request: Request, replies: Any) -> ParticipantReplied | None:
    """What is to be answered without doing anything; None: the step is to be done now.

    What succeeded is answered for ever. A failure counts for its own attempt and earlier ones: those may come again
    from Kafka after the saga has acted on the failure. Only a later attempt was asked for in spite of it.
    """
    last: ParticipantReplied | None = replies.get(request.phase)
    if last is not None and (last.error is None or request.attempt <= last.attempt):
        return last.model_copy(update={"attempt": request.attempt})
    if request.phase == "action" and "compensation" in replies:
        refusal = CompensatedBefore(f"the step {request.step} was undone before it was asked for")
        return _reply(request, error=told(refusal, _ERROR_LIMIT), retryable=False)
    return None


async def _attempt(
    handler: _Handler, request: Request, transaction: InboxTransaction, timeout: float
) -> ParticipantReplied:
    """Whatever the handler does is an outcome; where it fails, nothing that it wrote stays."""
    began = time.monotonic()

    def duration() -> int:
        return round((time.monotonic() - began) * 1000)

    deadline = asyncio.timeout(timeout)
    try:
        async with transaction.attempt():
            async with deadline:
                answer = await handler(request, transaction.connection)
            # Nobody reads what a compensation returns.
            result = None if request.phase == "compensation" else kept(answer, CONTEXT_LIMIT)
    except (Exception, asyncio.CancelledError) as raised:
        if _is_cancelled():
            raise
        return _failure(request, raised, timeout if deadline.expired() else None, duration())
    return _reply(request, result=result, duration_ms=duration())


def _failure(
    request: Request, raised: BaseException, cut_off: float | None, duration_ms: int
) -> ParticipantReplied:
    """cut_off: after so many seconds the handler was ended, and what it raised then says nothing."""
    if cut_off is not None:
        text = f"TimeoutError: no answer within {cut_off:g} s"
        return _reply(request, error=text, unknown=True, duration_ms=duration_ms)
    if isinstance(raised, NotKept):
        # Something may have been done beyond the transaction.
        return _reply(
            request, error=f"result_{raised}", retryable=False, unknown=True, duration_ms=duration_ms
        )
    return _reply(
        request,
        error=told(raised, _ERROR_LIMIT),
        retryable=not isinstance(raised, PermanentError),
        unknown=_is_unknown(raised),
        retry_after=_retry_after(raised),
        duration_ms=duration_ms,
    )


def _is_unknown(raised: BaseException) -> bool:
    """A connection that broke says nothing about what was done at its other end. (aiohttp's are no OSErrors.)"""
    from aiohttp import ClientConnectionError, ClientPayloadError

    return isinstance(
        raised,
        UnknownOutcomeError | OSError | asyncio.CancelledError | ClientConnectionError | ClientPayloadError,
    )


def _is_cancelled() -> bool:
    """Whether the running task was cancelled from outside, and not by its own time-out or by what it runs."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _retry_after(raised: BaseException) -> float | None:
    told_seconds = getattr(raised, "retry_after", None)
    if (
        isinstance(told_seconds, bool)
        or not isinstance(told_seconds, int | float)
        or not isfinite(told_seconds)
    ):
        return None
    return min(max(0.0, float(told_seconds)), _LONGEST_WAIT)


def _reply(request: Request, **outcome: Any) -> ParticipantReplied:
    return ParticipantReplied(
        saga_id=request.saga_id,
        run=request.run,
        step=request.step,
        phase=request.phase,
        attempt=request.attempt,
        **outcome,
    )


def utc_now() -> datetime:
    return datetime.now(UTC)
