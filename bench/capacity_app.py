"""A three-step saga whose steps return what real ones do: an id or two. A webhook with `"skip": true` starts none."""

from __future__ import annotations

from typing import Any

from sagahook.saga import Saga, StepContext, compensate, step, trigger


class Order(Saga):
    @trigger(source="capacity", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any] | None:
        if event.get("skip"):
            return None
        return {"id": event["id"], "amount": event["amount"], "customer": event["customer"]}

    @step(timeout=20)
    def reserve(self, ctx: StepContext) -> dict[str, Any]:
        return {"reservation": ctx.saga_id}

    @compensate("reserve")
    def release(self, ctx: StepContext, result: object) -> None: ...

    @step(timeout=20)
    def charge(self, ctx: StepContext) -> dict[str, Any]:
        return {"charge": ctx.saga_id, "cents": ctx.context["amount"]}

    @step(timeout=20)
    def ship(self, ctx: StepContext) -> dict[str, Any]:
        return {"parcel": ctx.saga_id}
