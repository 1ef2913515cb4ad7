"""Three steps that do nothing: what is left is the engine."""

from typing import Any

from sagahook.saga import Saga, StepContext, step, trigger


class Noop(Saga):
    @trigger(source="noop", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {"id": event["id"]}

    @step
    async def one(self, ctx: StepContext) -> dict[str, Any]:
        return {"ok": True}

    @step
    async def two(self, ctx: StepContext) -> dict[str, Any]:
        return {"ok": True}

    @step
    async def three(self, ctx: StepContext) -> dict[str, Any]:
        return {"ok": True}
