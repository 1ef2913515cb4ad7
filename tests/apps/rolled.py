"""A saga whose steps take as long as its webhook says, with effects that can be counted (see `notes`)."""

import asyncio
from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger
from tests.apps.notes import note

_QUICK = Retry(max=2, initial=0.05, jitter=0)


class Rolled(Saga):
    """`seconds`: of each of the two longer steps. `fail`: the last one is refused, and all is undone."""

    @trigger(source="rolled", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_QUICK, timeout=20)
    async def one(self, ctx: StepContext) -> dict[str, Any]:
        return await _work(ctx)

    @compensate("one", retry=_QUICK)
    async def undo_one(self, ctx: StepContext, result: object) -> None:
        await _work(ctx)

    @step(retry=_QUICK, timeout=20)
    async def two(self, ctx: StepContext) -> None:
        if ctx.context["fail"]:
            note(ctx, "began")
            note(ctx, "done")
            raise PermanentError("told to fail")
        await _work(ctx)


async def _work(ctx: StepContext) -> dict[str, Any]:
    note(ctx, "began")
    await asyncio.sleep(float(str(ctx.context["seconds"])))
    note(ctx, "done")
    return {"did": ctx.idempotency_key}
