"""Sagas that wait in every way there is. Each begins with the same source, and its own `kind` in the body."""

import asyncio
import os
from pathlib import Path
from typing import Any

from sagahook.saga import (
    PermanentError,
    Retry,
    Saga,
    StepContext,
    await_signal,
    child,
    compensate,
    foreach,
    sleep,
    step,
    trigger,
)
from tests.apps.notes import note, work

_RETRY = Retry(max=2, initial=0.05, jitter=0)
_WAIT = float(os.environ.get("WAIT_SECONDS", "4"))


def _only(kind: str, event: dict[str, Any]) -> dict[str, Any] | None:
    return event if event["kind"] == kind else None


class Sleeper(Saga):
    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("sleeper", event)

    @step(retry=_RETRY, timeout=20)
    async def before(self, ctx: StepContext) -> None:
        await work(ctx)

    nap = sleep(seconds=_WAIT)

    @step(retry=_RETRY, timeout=20)
    async def afterwards(self, ctx: StepContext) -> None:
        await work(ctx)


class Approval(Saga):
    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("approval", event)

    approved = await_signal("approved", timeout=600)

    @step(retry=_RETRY, timeout=20)
    async def act(self, ctx: StepContext) -> Any:
        note(ctx, "done")
        return ctx.results["approved"]


class Parcel(Saga):
    """A child: it waits until it is told to go."""

    @step(retry=_RETRY, timeout=20)
    async def pack(self, ctx: StepContext) -> dict[str, Any]:
        await work(ctx)
        return {"parcel": ctx.context["order"]}

    @compensate("pack", retry=_RETRY)
    async def unpack(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")

    go = await_signal("go", timeout=600)

    @step(retry=_RETRY, timeout=20)
    async def send(self, ctx: StepContext) -> dict[str, Any]:
        note(ctx, "done")
        if ctx.results["go"] == "fail":
            raise PermanentError("the parcel is lost")
        return {"sent": ctx.context["order"]}

    @compensate("send", retry=_RETRY)
    async def fetch_back(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")


class Order(Saga):
    """A parent; `refuse` makes its last step fail."""

    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("order", event)

    @step(retry=_RETRY, timeout=20)
    async def charge(self, ctx: StepContext) -> None:
        note(ctx, "done")

    @compensate("charge", retry=_RETRY)
    async def refund(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")

    shipping = child(Parcel, context=lambda ctx: {"order": ctx.context["id"]})

    @step(retry=_RETRY, timeout=20)
    async def thank(self, ctx: StepContext) -> Any:
        await work(ctx)
        if ctx.context.get("refuse"):
            raise PermanentError("told to refuse")
        return ctx.results["shipping"]


class Batch(Saga):
    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("batch", event)

    @foreach(items=lambda ctx: list(range(ctx.context["items"])), concurrency=3)
    @step(retry=_RETRY, timeout=20)
    async def each(self, ctx: StepContext) -> Any:
        await work(ctx)
        return ctx.item

    @step(retry=_RETRY, timeout=20)
    async def total(self, ctx: StepContext) -> Any:
        note(ctx, "done")
        return ctx.results["each"]


class Hurried(Saga):
    """It must be done in `WAIT_SECONDS`, and nobody signals in time."""

    deadline = _WAIT

    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("hurried", event)

    @step(retry=_RETRY, timeout=20)
    async def begin(self, ctx: StepContext) -> None:
        note(ctx, "done")

    @compensate("begin", retry=_RETRY)
    async def end(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")

    never = await_signal("never")


class Branches(Saga):
    """Two branches at once, and what needs both; `refuse`: the quick one fails while the slow one is under way."""

    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("branches", event)

    @step(after=[], retry=_RETRY, timeout=20)
    async def slow(self, ctx: StepContext) -> None:
        note(ctx, "began")
        await asyncio.sleep(float(os.environ.get("SLOW_SECONDS", "1")))
        note(ctx, "done")

    @compensate("slow", retry=_RETRY)
    async def undo_slow(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")

    @step(after=[], retry=_RETRY, timeout=20)
    async def quick(self, ctx: StepContext) -> None:
        note(ctx, "done")

    @compensate("quick", retry=_RETRY)
    async def undo_quick(self, ctx: StepContext, result: object) -> None:
        note(ctx, "done")

    @step(after=["quick"], retry=_RETRY, timeout=20)
    async def next_one(self, ctx: StepContext) -> None:
        if ctx.context.get("refuse"):
            raise PermanentError("told to refuse")
        note(ctx, "done")

    @step(after=["slow", "next_one"], retry=_RETRY, timeout=20)
    async def both(self, ctx: StepContext) -> None:
        note(ctx, "done")


class Retried(Saga):
    """`REFUSE`: while that file exists, its step fails, and is tried again after `WAIT_SECONDS`."""

    @trigger(source="waits", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return _only("retried", event)

    @step(retry=Retry(max=50, initial=_WAIT, factor=1, jitter=0), timeout=20)
    def persist(self, ctx: StepContext) -> None:
        if Path(os.environ.get("REFUSE", "/nowhere")).exists():
            raise ConnectionError("told to refuse")
        note(ctx, "done")
