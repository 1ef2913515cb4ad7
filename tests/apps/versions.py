"""One saga in the shapes that deploys give it: `DEPLOYED` is `first`, `renamed` or `second`.

first: version 1. renamed: version 1 again, but with another step where runs already were: their history no longer
replays. second: version 1 is gone, and version 2 has a further step at the end.
"""

import os
from typing import Any

from sagahook.saga import Retry, Saga, StepContext, await_signal, compensate, step, trigger
from tests.apps.notes import note

DEPLOYED = os.environ.get("DEPLOYED", "first")

_RETRY = Retry(max=2, initial=0.05, jitter=0)


if DEPLOYED == "renamed":

    class Plan(Saga):
        @trigger(source="versions", idempotency_key="id")
        def accept(self, event: dict[str, Any]) -> dict[str, Any]:
            return event

        @step(retry=_RETRY, timeout=20)
        async def reckon(self, ctx: StepContext) -> None:
            note(ctx, "done")

        go = await_signal("go")

else:

    class Plan(Saga):  # type: ignore[no-redef]  # one of the two is deployed
        version = 2 if DEPLOYED == "second" else 1

        @trigger(source="versions", idempotency_key="id")
        def accept(self, event: dict[str, Any]) -> dict[str, Any]:
            return event

        @step(retry=_RETRY, timeout=20)
        async def draw(self, ctx: StepContext) -> None:
            note(ctx, "done")

        @compensate("draw", retry=_RETRY)
        async def wipe(self, ctx: StepContext, result: object) -> None:
            note(ctx, "done")

        go = await_signal("go")

        if DEPLOYED == "second":

            @step(retry=_RETRY, timeout=20)
            async def archive(self, ctx: StepContext) -> None:
                note(ctx, "done")
