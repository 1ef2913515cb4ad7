"""A saga whose every effect is a line in a file (see `notes`), so that a test counts what was really done."""

from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger
from tests.apps.notes import note, work

_QUICK = Retry(max=2, initial=0.05, jitter=0)


class Effects(Saga):
    """Three steps; a webhook with `"fail": true` is refused by the last one."""

    @trigger(source="effects", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_QUICK, timeout=20)
    async def one(self, ctx: StepContext) -> dict[str, Any]:
        await work(ctx)
        return {"did": "one"}

    @compensate("one", retry=_QUICK)
    async def undo_one(self, ctx: StepContext, result: object) -> None:
        note(ctx, f"undid {ctx.action_key}")

    @step(retry=_QUICK, timeout=20)
    async def two(self, ctx: StepContext) -> None:
        await work(ctx)

    @step(retry=_QUICK, timeout=20)
    def three(self, ctx: StepContext) -> None:
        note(ctx, "began")
        if ctx.context.get("fail"):
            raise PermanentError("told to fail")
        note(ctx, "done")
