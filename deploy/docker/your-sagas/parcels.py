"""A saga of your own, with a package of your own."""

import humanize

from sagahook.saga import Saga, StepContext, step, trigger


class Parcel(Saga):
    @trigger(source="parcels", idempotency_key="parcel_id")
    def accept(self, event):
        return {"parcel_id": event["parcel_id"], "grams": event["grams"]}

    @step(timeout=10)
    async def label(self, ctx: StepContext):
        return {"text": f"{ctx.context['parcel_id']}: {humanize.metric(ctx.context['grams'], 'g')}"}
