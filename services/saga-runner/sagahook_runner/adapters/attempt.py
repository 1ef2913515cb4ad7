"""One attempt: what is to be run, under which terms, and what its failure says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from inspect import iscoroutinefunction
from random import random
from typing import NamedTuple

import aiohttp

from sagahook.runtime.logging import trace_fields
from sagahook.saga import StepContext
from sagahook.saga.attempts import is_named
from sagahook.saga.errors import PermanentError, UnknownOutcomeError
from sagahook_runner.adapters.pulse import Pulse
from sagahook_runner.domain.commands import Attempt, AttemptFailed
from sagahook_runner.domain.state import Open
from sagahook_schemas.base import JsonValue
from sagahook_schemas.definitions import Kind
from sagahook_schemas.identity import Phase
from sagahook_schemas.sagas import AttemptInFlight
from sagahook_schemas.values import NotKept, told

ERROR_LIMIT = 2_000
"""Characters of an error's text that the log keeps."""

_UNKNOWN = (
    UnknownOutcomeError,
    OSError,
    asyncio.CancelledError,
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
)
"""A connection that broke says nothing about what was done at its other end. (aiohttp's are no OSErrors.)"""


class AttemptKey(NamedTuple):
    """Which attempt."""

    saga_id: str
    run: int
    step: str
    phase: Phase
    attempt: int

    @classmethod
    def of(cls, saga_id: str, run: int, at: Open | Attempt | AttemptInFlight) -> AttemptKey:
        return cls(saga_id, run, at.step, at.phase, at.attempt)


class NeverBegun(Exception):
    """The attempt has nothing to call here: whoever owns the saga decides anew."""


@dataclass(slots=True)  # as StepContext
class Job:
    """One attempt to run. call: the bound action, given its arguments. timeout: seconds. kind: which cap it counts
    against. non_retryable: names of exceptions, and of their bases, that no retry mends. heartbeat: seconds after
    which one that gives no sign of life is given up. pulse: what its context calls. find: makes the job whole,
    where its `call` has to be found first, which is no part of the attempt; raises NeverBegun. context: what the action
    is given."""

    key: AttemptKey
    partition: int
    call: Callable[[], Awaitable[JsonValue] | JsonValue]
    is_async: bool
    timeout: float
    kind: Kind
    heartbeat: float | None
    pulse: Pulse
    find: Callable[[], Awaitable[Job]] | None = None
    non_retryable: tuple[str, ...] = ()
    context: StepContext | None = None

    @property
    def log_fields(self) -> Mapping[str, object]:
        """What lines of the action say it is about (see `sagahook.runtime.logging.about`)."""
        context, ids = self.context, self.key._asdict()
        if context is None:
            return ids
        return ids | {"correlation_id": context.correlation_id} | trace_fields(context.traceparent)


class Outcome(NamedTuple):
    saga_id: str
    command: Attempt


def failed_attempt(job: Job, raised: BaseException, duration_ms: int, *, cut_off: bool) -> AttemptFailed:
    """What the attempt came to, after so many milliseconds. cut_off: its time-out ended it, and whatever it raised then
    says nothing."""
    retryable, unknown = True, False
    retry_after = _retry_after(raised)
    if cut_off and job.heartbeat is not None and duration_ms < job.timeout * 1000:
        error, unknown = f"HeartbeatLost: no sign of life for {job.heartbeat:g} s", True
    elif cut_off:
        error, unknown = f"TimeoutError: no answer within {job.timeout:g} s", True
    elif isinstance(raised, NotKept):
        # The effect was applied all the same, so its step is compensated.
        error, retryable, unknown = f"result_{raised}", False, True
    else:
        error = told(raised, ERROR_LIMIT)
        retryable = not isinstance(raised, PermanentError) and not is_named(raised, job.non_retryable)
        unknown = isinstance(raised, _UNKNOWN)
    return AttemptFailed(*job.key[1:], error, retryable, unknown, duration_ms, random(), retry_after)


def _retry_after(raised: BaseException) -> float | None:
    """What the error itself says, in seconds; at most a year."""
    try:
        seconds = float(raised.retry_after)  # type: ignore[attr-defined]  # most have none, which is an answer too
    except Exception:  # an exception's own attributes are users' code too
        return None
    return min(seconds, 365 * 86_400.0) if seconds >= 0 else None


@lru_cache(maxsize=1024)
def is_async(function: Callable[..., object]) -> bool:
    return iscoroutinefunction(function)
