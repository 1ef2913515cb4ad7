"""The four scenes of the demo. Each plays on the real thing, and looks for itself whether it was seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import aiohttp

from sagahook.embedded.demo_world import CHARGE_LIMIT, SOURCE, DemoWorld, LogEvent, Posted
from sagahook_schemas.base import Contract
from sagahook_schemas.sagas import (
    SagaCompensating,
    SagaCompleted,
    SagaFailed,
    SagaJoined,
    SagaRolledBack,
    SagaStarted,
    SagaSuspended,
)
from sagahook_schemas.steps import (
    StepAttemptLost,
    StepCompleted,
    StepFailed,
    StepRetryScheduled,
    StepScheduled,
)

Mood = Literal["plain", "good", "bad", "undo", "violent"]
Line = tuple[Mood, str]

SCENE_SECONDS = 60.0
_STALL_SECONDS = 3.0
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
    play: Callable[[DemoWorld, Narrator], Awaitable[None]]


async def play(scene: Scene, world: DemoWorld, narrator: Narrator) -> None:
    """Raises NotSeen."""
    try:
        async with asyncio.timeout(SCENE_SECONDS):
            await scene.play(world, narrator)
    except TimeoutError:
        raise NotSeen(f"it was not over after {SCENE_SECONDS:.0f} s") from None
    except aiohttp.ClientError as failure:
        raise NotSeen(f"a request failed: {failure}") from failure


async def order_completes(world: DemoWorld, narrator: Narrator) -> None:
    posted = await _post(world, narrator, _order(1, amount=42))
    await _follow(world, narrator, posted)
    saga_id = await _expect_status(world, narrator, posted, "completed")
    await _expect_webhook(world, narrator, posted, saga_id, "task_completed")
    await _expect_effects(world, narrator, posted, "inventory/reserve", "payments/charge", "shipping/ship")


async def order_is_declined(world: DemoWorld, narrator: Narrator) -> None:
    posted = await _post(world, narrator, _order(2, amount=5 * CHARGE_LIMIT))
    await _follow(world, narrator, posted)
    saga_id = await _expect_status(world, narrator, posted, "failed", error="declined")
    webhook = await _expect_webhook(world, narrator, posted, saga_id, "task_failed")
    _require("declined" in webhook["event"]["data"].get("error", ""), "the webhook says why it was declined")
    saga = await world.saga(saga_id)
    _require(saga["state"] == "ROLLED_BACK", f"the saga's state is ROLLED_BACK, not {saga['state']}")
    await _expect_effects(world, narrator, posted, "inventory/reserve", "inventory/release")


async def duplicate_joins(world: DemoWorld, narrator: Narrator) -> None:
    order = _order(3, amount=7)
    first = await _post(world, narrator, order)
    await _follow(world, narrator, first)
    saga_id = await _expect_status(world, narrator, first, "completed")
    before = await world.ledger(first)
    second = await _post(world, narrator, order)
    _require(second.correlation_id != first.correlation_id, "the duplicate has a correlation id of its own")
    await _follow(world, narrator, second)
    joined = await _expect_status(world, narrator, second, "completed")
    _require(joined == saga_id, f"both webhooks show the saga {saga_id}, and the second shows {joined}")
    narrator.seen(f"both webhooks show the same saga, {saga_id}")
    _require(await world.ledger(first) == before, "the shop was asked nothing for the duplicate")
    narrator.seen("the shop was not asked again")


async def runner_is_killed(world: DemoWorld, narrator: Narrator) -> None:
    await world.stall_shop("/shipping/ship", _STALL_SECONDS)
    posted = await _post(world, narrator, _order(4, amount=99))

    async def kill(event: LogEvent) -> None:
        if isinstance(event.data, StepScheduled) and (event.data.step, event.data.attempt) == ("ship", 1):
            await world.until_stalled("/shipping/ship")
            pid = world.kill_runner()
            narrator.happened(
                _since(posted),
                "violent",
                f"saga-runner (pid {pid}) killed with SIGKILL while ship is running",
            )
            await world.stall_shop("/shipping/ship", 0)

    lost = [
        event
        for event in await _follow(world, narrator, posted, meanwhile=kill)
        if isinstance(event.data, StepAttemptLost)
    ]
    _require(bool(lost), "the new runner finds in the log that an attempt was lost")
    await _expect_status(world, narrator, posted, "completed")
    asked = await _asked_again(world, posted, "shipping/ship")
    await _expect_effects(world, narrator, posted, "inventory/reserve", "payments/charge", "shipping/ship")
    narrator.seen(f"the shop was asked {asked} times to ship, under one key, and did it once")


async def _asked_again(world: DemoWorld, posted: Posted, operation: str) -> int:
    """How often the shop was asked, once the request of the killed runner has come through too."""
    while True:
        for entry in await world.ledger(posted):
            if entry["operation"] == operation and entry["requests"] >= 2:
                requests: int = entry["requests"]
                return requests
        await asyncio.sleep(0.05)


SCENES = (
    Scene("An order completes, and its outbound webhook arrives signed", order_completes),
    Scene("A declined order is undone, and reported with its error", order_is_declined),
    Scene("A duplicate joins the first: the same saga, not run again", duplicate_joins),
    Scene("The runner is killed in the middle, and the saga completes all the same", runner_is_killed),
)


def _order(number: int, amount: int) -> dict[str, Any]:
    return {"order_id": f"A-{number}", "user_id": "ada", "amount": amount, "items": ["pen", "paper"]}


async def _post(world: DemoWorld, narrator: Narrator, order: dict[str, Any]) -> Posted:
    narrator.happened(
        0, "plain", f"POST /webhooks/{SOURCE}: order {order['order_id']}, amount {order['amount']}"
    )
    posted = await world.post(order)
    narrator.seen(f"202 after {posted.taken * 1000:.0f} ms: Kafka holds it durably")
    return posted


async def _nothing(event: LogEvent) -> None:
    """Only watch."""


async def _follow(
    world: DemoWorld,
    narrator: Narrator,
    posted: Posted,
    meanwhile: Callable[[LogEvent], Awaitable[None]] = _nothing,
) -> list[LogEvent]:
    """Tell what the saga log says of the webhook's saga, as it says it, until the end."""
    told: list[LogEvent] = []
    async for event in world.log.of(posted.correlation_id):
        line = _line(event)
        if line is not None:
            narrator.happened(event.envelope.time.timestamp() - posted.at, *line)
        await meanwhile(event)
        told.append(event)
        if event.kind in _ENDS:
            break
    return told


def _line(event: LogEvent) -> Line | None:
    """How an event of the saga log is told; None where it says nothing that another one does not."""
    line: Line | None = None
    match event.data:
        case SagaStarted(name=name):
            line = "plain", f"saga {name} started, {event.envelope.saga_id}"
        case SagaJoined(state=state):
            line = "good", f"joined the saga that exists, {event.envelope.saga_id} ({state})"
        case SagaCompensating(steps=steps):
            line = "undo", f"to be undone: {', '.join(steps) or 'nothing'}"
        case SagaCompleted():
            line = "good", "the saga is completed"
        case SagaRolledBack():
            line = "bad", "the saga is rolled back"
        case SagaFailed(unresolved=unresolved):
            line = "bad", f"the saga failed and left behind: {', '.join(unresolved)}"
        case SagaSuspended(reason=reason):
            line = "bad", f"the saga is suspended: {reason}"
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
        case StepCompleted(step=step, duration_ms=taken):
            line = "undo", f"{step} undone in {taken} ms"
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


async def _expect_status(
    world: DemoWorld, narrator: Narrator, posted: Posted, expected: str, error: str | None = None
) -> str:
    """The webhook's status is the expected one, of one saga, whose id it returns."""
    status = await world.status(posted)
    said = f"{status['status']}: {status['message']}"
    _require(status["status"] == expected and status["final"], f"the status is {expected}, not {said}")
    _require(len(status["saga_ids"]) == 1, f"one saga was triggered, not {len(status['saga_ids'])}")
    saga_id: str = status["saga_ids"][0]
    told = status.get("saga_errors", {}).get(saga_id, "")
    _require(error is None or error in told, f"the status names the error {error!r}, not {told!r}")
    narrator.seen(f"GET …/status says {expected}" + (f": {told}" if told else ""))
    return saga_id


async def _expect_webhook(
    world: DemoWorld, narrator: Narrator, posted: Posted, saga_id: str, event_type: str
) -> dict[str, Any]:
    webhook = await world.received(saga_id, event_type)
    narrator.happened(_since(posted), "good", f"outbound webhook {event_type} arrived")
    _require(webhook["verified"] is True, f"the webhook {event_type} is verified")
    narrator.seen(f"{event_type} arrived; the receiver verified its signature ({webhook['webhook_id']})")
    return webhook


async def _expect_effects(world: DemoWorld, narrator: Narrator, posted: Posted, *operations: str) -> None:
    """The shop did these, in this order, each exactly once, and nothing else."""
    effects = [entry["operation"] for entry in await world.ledger(posted) for _ in range(entry["applied"])]
    _require(
        sorted(effects) == sorted(operations),
        f"the shop did {', '.join(operations)}, not {', '.join(effects)}",
    )
    narrator.seen(f"the shop's ledger has each effect once: {', '.join(effects)}")


def _require(seen: bool, what: str) -> None:
    if not seen:
        raise NotSeen(f"it should be that {what}")


def _since(posted: Posted) -> float:
    return time.time() - posted.at
