"""Scenes that are played on the real thing; each looks for itself whether what it promises was seen."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import aiohttp

from sagahook.embedded.example_world import Posted, World
from sagahook.embedded.saga_log import LogEvent
from sagahook_schemas.base import Contract
from sagahook_schemas.sagas import (
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaJoined,
    SagaProgressed,
    SagaResumed,
    SagaRolledBack,
    SagaSignalled,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAttemptLost,
    StepAwaiting,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
    StepSkipped,
)

Mood = Literal["plain", "good", "bad", "undo", "violent"]
Line = tuple[Mood, str]

SCENE_SECONDS = 60.0
_ENDS = frozenset({"saga.completed", "saga.rolled_back", "saga.failed", "saga.suspended", "saga.joined"})


class NotSeen(Exception):
    """What should have been seen in a scene and was not."""


class Narrator(Protocol):
    """Tells a scene to the person who watches."""

    def happened(self, at: float, mood: Mood, text: str) -> None:
        """at: seconds since the scene's webhook was sent."""
        ...

    def seen(self, text: str) -> None:
        """Something that the scene promises was looked up, and is so."""
        ...


@dataclass(frozen=True)
class Scene:
    title: str
    play: Callable[[World, Narrator], Awaitable[None]]


async def play(scene: Scene, world: World, narrator: Narrator, seconds: float = SCENE_SECONDS) -> None:
    """Raises NotSeen."""
    try:
        async with asyncio.timeout(seconds):
            await scene.play(world, narrator)
    except TimeoutError:
        raise NotSeen(f"it was not over after {seconds:g} s") from None
    except aiohttp.ClientError as failure:
        raise NotSeen(f"a request failed: {failure}") from failure


def expect(seen: object, what: str) -> None:
    """Raises NotSeen unless it is true. what: the sentence that should hold."""
    if not seen:
        raise NotSeen(f"it should be that {what}")


async def webhook_sent(world: World, narrator: Narrator, source: str, body: Any, what: str) -> Posted:
    """what: the body in a few words."""
    narrator.happened(0, "plain", f"POST /webhooks/{source}: {what}")
    posted = await world.post(source, body)
    narrator.seen(f"202 after {posted.taken * 1000:.0f} ms: Kafka holds it durably")
    return posted


async def _nothing(event: LogEvent) -> None:
    """Only watch."""


async def follow(
    world: World,
    narrator: Narrator,
    posted: Posted,
    meanwhile: Callable[[LogEvent], Awaitable[None]] = _nothing,
) -> list[LogEvent]:
    """Tell what the saga log says of the webhook's sagas, as it says it, until the one that started first has ended.

    meanwhile: called with each event, before the next is told.
    """
    told: list[LogEvent] = []
    names: dict[str, str] = {}
    async for event in world.log.of(posted.correlation_id):
        line = _line(event, names)
        if line is not None:
            narrator.happened(event.envelope.time.timestamp() - posted.at, *line)
        await meanwhile(event)
        told.append(event)
        if event.kind in _ENDS and event.envelope.saga_id == told[0].envelope.saga_id:
            break
    return told


async def status_is(
    world: World, narrator: Narrator, posted: Posted, expected: str, error: str | None = None
) -> str:
    """The webhook's status is the expected one, of one saga, whose id it returns. error: part of what it says."""
    status = await world.status(posted)
    said = f"{status['status']}: {status['message']}"
    expect(status["status"] == expected and status["final"], f"the status is {expected}, not {said}")
    expect(len(status["saga_ids"]) == 1, f"one saga was triggered, not {len(status['saga_ids'])}")
    saga_id: str = status["saga_ids"][0]
    told = status.get("saga_errors", {}).get(saga_id, "")
    expect(error is None or error in told, f"the status names the error {error!r}, not {told!r}")
    narrator.seen(f"GET …/status says {expected}" + (f": {told}" if told else ""))
    return saga_id


def _line(event: LogEvent, names: dict[str, str]) -> Line | None:
    """How an event of the saga log is told; None where it says nothing that another one does not.

    names: of the sagas that were told to have started, by their id.
    """
    saga_id = event.envelope.saga_id or ""
    saga = f"saga {names[saga_id]}" if saga_id in names else "the saga"
    line: Line | None = None
    match event.data:
        case SagaStarted(name=name):
            names[saga_id] = name
            line = "plain", f"saga {name} started, {saga_id}"
        case SagaJoined(state=state):
            line = "good", f"joined the saga that exists, {saga_id} ({state})"
        case SagaProgressed(progress=fraction, message=message):
            line = "plain", f"{fraction:.0%} {message}".rstrip()
        case SagaSignalled(signal=signal, actor=actor):
            line = "plain", f"the signal {signal} came from {actor}"
        case SagaCompensating(steps=steps):
            line = "undo", f"to be undone: {', '.join(steps) or 'nothing'}"
        case SagaCompleted():
            line = "good", f"{saga} is completed"
        case SagaRolledBack():
            line = "bad", f"{saga} is rolled back"
        case SagaFailed(unresolved=unresolved):
            line = "bad", f"{saga} failed and left behind: {', '.join(unresolved)}"
        case SagaSuspended(reason=reason):
            line = "bad", f"{saga} is suspended: {reason}"
        case SagaResumed(actor=actor):
            line = "plain", f"{saga} goes on" + (f", told by {actor}" if actor else "")
        case _:
            line = _step_line(event.data)
    return line


def _step_line(event: Contract) -> Line | None:
    line: Line | None = None
    match event:
        case StepScheduled(step=step, phase="action", attempt=attempt):
            line = "plain", step + (f", attempt {attempt}" if attempt > 1 else "") + " …"
        case StepCompleted(step=step, phase="action", duration_ms=taken):
            line = "good", f"{step} done in {taken} ms"
        case StepCompleted(step=step, phase="compensation", duration_ms=taken):
            line = "undo", f"{step} undone in {taken} ms"
        case StepAwaiting(step=step, signal=signal):
            line = "plain", f"{step} waits for the signal {signal}"
        case StepSkipped(step=step):
            line = "plain", f"{step} is not wanted"
        case StepFailed(step=step, error=error):
            line = "bad", f"{step} failed: {error}"
        case StepRetryScheduled(step=step, attempt=attempt):
            line = "plain", f"{step} will be tried again, attempt {attempt}"
        case StepAttemptLost(step=step, attempt=attempt):
            line = (
                "bad",
                f"attempt {attempt} of {step} was lost with its process: the next runner read it in the log",
            )
    return line
