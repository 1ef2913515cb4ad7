"""A saga whose action can kill its process; `REFUSE`: while that file exists, the last step is refused."""

import os
from pathlib import Path
from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger
from tests.apps.notes import note, work

_RETRY = Retry(max=2, initial=0.05, jitter=0)


class Poison(Saga):
    """A webhook with `"kills": true` takes the runner with it."""

    @trigger(source="poison", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_RETRY, timeout=20)
    async def one(self, ctx: StepContext) -> dict[str, Any]:
        await work(ctx)
        return {"did": "one"}

    @compensate("one", retry=_RETRY)
    async def undo_one(self, ctx: StepContext, result: object) -> None:
        note(ctx, f"undid {ctx.action_key}")

    @step(retry=_RETRY, timeout=20)
    async def two(self, ctx: StepContext) -> None:
        note(ctx, "began")
        if ctx.context.get("kills"):
            os._exit(9)
        note(ctx, "done")

    @step(retry=_RETRY, timeout=20)
    def three(self, ctx: StepContext) -> None:
        note(ctx, "began")
        if Path(os.environ.get("REFUSE", "/nowhere")).exists():
            raise PermanentError("told to refuse")
        note(ctx, "done")
