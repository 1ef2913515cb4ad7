"""A saga of your own, with a package of your own."""

from typing import Any

import humanize

from sagahook.saga import Saga, StepContext, step, trigger


class Parcel(Saga):
    @trigger(source="parcels", idempotency_key="parcel_id")
    def accept(self, event: dict[str, Any]) -> dict[str, Any]:
        return {"parcel_id": event["parcel_id"], "grams": event["grams"]}

    @step(timeout=10)
    async def label(self, ctx: StepContext) -> dict[str, str]:
        return {"text": f"{ctx.context['parcel_id']}: {humanize.metric(ctx.context['grams'], 'g')}"}
