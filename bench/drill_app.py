"""An order that may wait for a signal in its middle; each effect is a line in a file, with its idempotency key."""

from __future__ import annotations

import os
from typing import Any

from sagahook.saga import Saga, StepContext, await_signal, step, trigger


def _note(ctx: StepContext) -> None:
    with open(os.environ["EFFECTS_FILE"], "a") as file:
        file.write(f"{ctx.idempotency_key}\n")


class Order(Saga):
    @trigger(source="drill", idempotency_key="id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return event

    @step(timeout=20)
    def reserve(self, ctx: StepContext) -> dict[str, Any]:
        _note(ctx)
        return {"reservation": ctx.context["id"]}

    released = await_signal("released", timeout=86_400, when=lambda ctx: bool(ctx.context.get("waits")))

    @step(timeout=20)
    def ship(self, ctx: StepContext) -> None:
        _note(ctx)
