"""The saga of the tests of web frameworks: nothing but the engine."""

from typing import Any

from sagahook.saga import PermanentError, Saga, StepContext, step, trigger


class Parcel(Saga):
    """A webhook with `"lost": true` fails its second step."""

    @trigger(source="parcels", idempotency_key="parcel")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step
    async def pack(self, ctx: StepContext) -> dict[str, Any]:
        return {"packed": ctx.context["parcel"]}

    @step
    async def hand_over(self, ctx: StepContext) -> None:
        if ctx.context.get("lost"):
            raise PermanentError("the parcel is lost")
