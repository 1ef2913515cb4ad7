"""Sagas of two sources that end in every way: completed, rolled back, and failed."""

from typing import Any

from sagahook.saga import PermanentError, Retry, Saga, StepContext, compensate, step, trigger

_ONCE = Retry(max=0)


class Order(Saga):
    """`declined`: the charge fails; `stuck`: what was reserved cannot be released either."""

    @trigger(source="shop", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step
    async def reserve(self, ctx: StepContext) -> None: ...

    @compensate("reserve", retry=_ONCE)
    async def release(self, ctx: StepContext, result: object) -> None:
        if ctx.context.get("stuck"):
            raise PermanentError("the warehouse is closed")

    @step(retry=_ONCE)
    async def charge(self, ctx: StepContext) -> None:
        if ctx.context.get("declined") or ctx.context.get("stuck"):
            raise PermanentError("declined")


class Push(Saga):
    @trigger(source="hub", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step
    async def build(self, ctx: StepContext) -> None: ...
