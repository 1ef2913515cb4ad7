"""What both clients do with a call, without doing it: when to ask again, when to give up, what the answer was.

Each part is a generator that says what is to be done next and is told what came of it; the clients differ only in
how they send and wait.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sagahook import __version__
from sagahook.client.calls import Call
from sagahook.client.errors import (
    Headers,
    NotFinal,
    SagahookError,
    TooMany,
    Unavailable,
    Unreachable,
    refusal,
)
from sagahook.client.models import SagaDetails, WebhookStatus
from sagahook.client.operations import saga_status, webhook_status

T = TypeVar("T")
Clock = Callable[[], float]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 5.0
_LONGEST_WAIT = 25.0
"""Seconds that one answer is waited for; the API takes up to 30."""
_FINAL = ("COMPLETED", "ROLLED_BACK", "FAILED")
_NEXT_CURSOR = "X-Next-Cursor"


@dataclass(frozen=True, slots=True)
class Send:
    """To be told: the Reply, or the Unreachable that it ended with."""

    call: Call[Any]


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Headers
    content: bytes


@dataclass(frozen=True, slots=True)
class Answered(Generic[T]):
    """next_cursor: of a list, where the next page begins; None at the end."""

    value: T
    next_cursor: str | None


Outcome = Reply | Unreachable | None


def attempts(
    call: Call[T], patience: float, clock: Clock, dice: Callable[[], float]
) -> Generator[Send | Pause, Outcome, Answered[T]]:
    """Until there is an answer, or an error that no waiting helps against, or `patience` seconds are over. dice: from 0
    to 1, so that those who were told the same do not all come at the same moment. Raises SagahookError."""
    deadline = clock() + patience
    pause = _FIRST_PAUSE
    while True:
        outcome = yield Send(call)
        if isinstance(outcome, Reply) and outcome.status < 300:
            value = call.read(outcome.content)
            return Answered(value, outcome.headers.get(_NEXT_CURSOR) or getattr(value, "next_cursor", None))
        error = failure(outcome)
        seconds = again_after(call, error, pause)
        if seconds is None or clock() + seconds > deadline:
            raise error
        yield Pause(seconds * (1 + dice() / 4))
        pause = min(pause * 2, _LONGEST_PAUSE)


def failure(outcome: Outcome) -> SagahookError:
    if isinstance(outcome, Reply):
        return refusal(outcome.status, outcome.headers, outcome.content)
    return outcome or Unreachable("Nothing was sent", sent=False)


def again_after(call: Call[Any], error: SagahookError, pause: float) -> float | None:
    """Seconds after which to ask again; None where that does not help, or may do harm."""
    match error:
        case TooMany():
            return error.retry_after or pause
        case Unavailable() if call.repeatable:
            return error.retry_after or pause
        case Unreachable() if call.repeatable or not error.sent:
            return pause
    return None


def until_final(
    source: str, correlation_id: str, timeout: float, clock: Clock
) -> Generator[Call[WebhookStatus], WebhookStatus, WebhookStatus]:
    deadline = clock() + timeout
    while True:
        status = yield webhook_status(source, correlation_id, wait=_wait(deadline - clock()))
        if status.final:
            return status
        if clock() >= deadline:
            raise NotFinal(
                f"{source}/{correlation_id} is not final after {timeout:g} s: {status.message}", status
            )


def until_saga_final(
    saga_id: str, timeout: float, clock: Clock
) -> Generator[Call[SagaDetails], SagaDetails, SagaDetails]:
    deadline = clock() + timeout
    while True:
        saga = yield saga_status(saga_id, wait=_wait(deadline - clock()))
        if saga.state in _FINAL:
            return saga
        if clock() >= deadline:
            raise NotFinal(f"The saga {saga_id} is not final after {timeout:g} s: it is {saga.state}", saga)


def _wait(left: float) -> float:
    return round(max(0.0, min(left, _LONGEST_WAIT)), 3)


def headers_of(call: Call[Any], key: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"sagahook-client/{__version__}", "Accept": "*/*", **call.headers}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    if call.body is not None or call.content is not None:
        headers.setdefault("Content-Type", "application/json")
    return headers
