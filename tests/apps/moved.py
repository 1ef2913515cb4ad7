"""Sagas that stand in every way in which a deployment finds them that moves to other topics."""

import os
from pathlib import Path
from typing import Any

from sagahook.saga import Retry, Saga, StepContext, await_signal, child, sleep, step, trigger
from tests.apps.notes import note

_RETRY = Retry(max=2, initial=0.05, jitter=0)


class Moved(Saga):
    """kind: `try` fails until the file `REFUSE` is gone, `plain` just runs."""

    @trigger(source="moved", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["kind"] in ("plain", "try") else None

    @step(retry=Retry(max=200, initial=0.2, factor=1, jitter=0), timeout=20)
    def one(self, ctx: StepContext) -> None:
        if ctx.context["kind"] == "try" and Path(os.environ["REFUSE"]).exists():
            raise ConnectionError("told to refuse")
        note(ctx, "done")


class Sleeper(Saga):
    """It wakes after the move."""

    @trigger(source="moved", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["kind"] == "nap" else None

    nap = sleep(seconds=float(os.environ.get("NAP_SECONDS", "12")))

    @step(retry=_RETRY, timeout=20)
    async def afterwards(self, ctx: StepContext) -> None:
        note(ctx, "done")


class Asking(Saga):
    @trigger(source="moved", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["kind"] == "ask" else None

    answer = await_signal("answer", timeout=600)

    @step(retry=_RETRY, timeout=20)
    async def act(self, ctx: StepContext) -> None:
        note(ctx, "done")


class Limited(Saga):
    """One at a time, and it is told when to end."""

    @trigger(source="moved", idempotency_key="id", max_concurrent=1)
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["kind"] == "limited" else None

    answer = await_signal("answer", timeout=600)

    @step(retry=_RETRY, timeout=20)
    async def act(self, ctx: StepContext) -> None:
        note(ctx, "done")


class Part(Saga):
    """A child."""

    answer = await_signal("answer", timeout=600)

    @step(retry=_RETRY, timeout=20)
    async def act(self, ctx: StepContext) -> None:
        note(ctx, "done")


class Whole(Saga):
    @trigger(source="moved", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event if event["kind"] == "whole" else None

    part = child(Part, context=lambda ctx: {"of": ctx.context["id"]})

    @step(retry=_RETRY, timeout=20)
    async def thank(self, ctx: StepContext) -> None:
        note(ctx, "done")
