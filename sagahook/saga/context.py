"""What an action is told, and what it can tell the engine while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from sagahook_schemas.base import JsonValue
from sagahook_schemas.identity import Phase

_LONGEST = 365 * 86_400.0


def _unheard(*said: object) -> None:
    """Nobody listens: an action that is called outside the engine may say what it likes."""


@dataclass(slots=True)  # frozen, it would take three times as long to make, which is done for every attempt
class StepContext:
    """One attempt of one step.

    saga_id, run: which saga, and which run of it (from 1).
    attempt: counts from 1. idempotency_key: the same for every attempt of this run's step; hand it to the
    other system, so that a repeated attempt is applied once.
    action_key: the key of the step's action; a compensation hands it over too, so that the other system
    refuses the action should it arrive after its undoing.
    context: what the trigger made of the webhook. results: the results of the steps that completed, by name.
    item, index: of a step that is done for each of several; step is then `charge[0]`, and so are the keys.
    carry: what the last `continue_after` of this step carried over. traceparent: the W3C trace context, to be
    handed on; "" where nothing is traced.
    """

    saga: str
    saga_id: str
    run: int
    step: str
    phase: Phase
    attempt: int
    correlation_id: str
    idempotency_key: str
    action_key: str
    context: Mapping[str, JsonValue]
    results: Mapping[str, JsonValue]
    item: JsonValue = None
    index: int | None = None
    carry: JsonValue = None
    traceparent: str = ""
    on_heartbeat: Callable[[], None] = field(default=_unheard, repr=False, compare=False)
    on_progress: Callable[[float, str], None] = field(default=_unheard, repr=False, compare=False)

    def heartbeat(self) -> None:
        """A sign of life: a step with a `heartbeat` that gives none for so long is given up."""
        self.on_heartbeat()

    def progress(self, fraction: float, message: str = "") -> None:
        """How far the whole saga is, from 0 to 1 (what lies outside counts as the nearer end); it is a sign
        of life too. Not every call is logged: call it as often as you like."""
        self.on_heartbeat()
        self.on_progress(min(1.0, max(0.0, fraction)), message)


@dataclass(frozen=True, slots=True)
class Continue:
    """An action's answer: not done, not failed, call me again in so many seconds. carry: JSON that it is
    given then."""

    seconds: float
    carry: JsonValue = None


def continue_after(seconds: float | timedelta, carry: JsonValue = None) -> Continue:
    """What an action returns to be called again later; meanwhile nothing runs, and a restart loses nothing.

    At most a year. The next call is an attempt of its own under the same idempotency key, and uses up no retry.
    Raises ValueError.
    """
    wait = seconds.total_seconds() if isinstance(seconds, timedelta) else float(seconds)
    if not 0 <= wait <= _LONGEST:
        raise ValueError(f"continue_after: between 0 seconds and a year, not {seconds!r}")
    return Continue(wait, carry)
