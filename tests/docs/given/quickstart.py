"""What runs on the quickstart's stack beside its saga, for the pages that are read on it."""

import json

ADDED = {
    "shop.py": """

from sagahook.saga import await_signal


class Parcel(Saga):
    @trigger(source="parcels", idempotency_key="id")
    def accept(self, event):
        return event

    @step
    async def reserve(self, ctx: StepContext):
        return {"shelf": "B7"}

    @compensate("reserve")
    async def release(self, ctx: StepContext, reservation):
        raise PermanentError("nobody answers at the depot")

    @step
    async def charge(self, ctx: StepContext):
        raise PermanentError("declined")


class Expense(Saga):
    @trigger(source="expenses", idempotency_key="id")
    def accept(self, event):
        return event

    approval = await_signal("approved", timeout=86_400)
"""
}
ENVIRONMENT = {
    "SAGAHOOK_SOURCES": json.dumps(
        {
            "shop": {"erasure": "subject:customer.id"},
            "crm": {"erasure": "source"},
            "newsletter": {"rate_limit": "10/s burst 20"},
            "orders": {
                "scheme": "hmac",
                "secrets": ["env:ORDERS_SECRET"],
                "header": "X-Shop-Signature",
                "prefix": "sha256=",
                "event_type": "body:kind",
                "delivery_id": "header:X-Shop-Delivery",
            },
        }
    ),
    "SAGAHOOK_ERASURE_KEY": "env:KEY_OF_KEYS",
    "KEY_OF_KEYS": "a" * 43 + "=",
    "ORDERS_SECRET": "a-secret-of-the-shop",
    "STRIPE_SIGNING_SECRET": "whsec_of-the-tests",
}
