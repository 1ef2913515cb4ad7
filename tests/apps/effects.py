"""Sagas whose every effect is a line in a file, so that a test counts what was really done.

`EFFECTS_FILE`: one line `key attempt` for each attempt that began and one `key attempt done` for each that ended.
`STEP_SECONDS`: how long a step takes.
"""

import asyncio
import os
from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger

_QUICK = Retry(max=2, initial=0.05, jitter=0)


def _note(ctx: StepContext, what: str) -> None:
    line = f"{ctx.idempotency_key} {ctx.attempt} {what}\n".encode()
    file = os.open(os.environ["EFFECTS_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line)  # one write, appended whole even when two processes write at once
    finally:
        os.close(file)


async def _work(ctx: StepContext) -> None:
    _note(ctx, "began")
    await asyncio.sleep(float(os.environ.get("STEP_SECONDS", "0")))
    _note(ctx, "done")


class Effects(Saga):
    """Three steps; a webhook with `"fail": true` is refused by the last one."""

    @trigger(source="effects", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(retry=_QUICK, timeout=20)
    async def one(self, ctx: StepContext) -> dict[str, Any]:
        await _work(ctx)
        return {"did": "one"}

    @compensate("one", retry=_QUICK)
    async def undo_one(self, ctx: StepContext, result: object) -> None:
        _note(ctx, f"undid {ctx.action_key}")

    @step(retry=_QUICK, timeout=20)
    async def two(self, ctx: StepContext) -> None:
        await _work(ctx)

    @step(retry=_QUICK, timeout=20)
    def three(self, ctx: StepContext) -> None:
        _note(ctx, "began")
        if ctx.context.get("fail"):
            raise PermanentError("told to fail")
        _note(ctx, "done")
