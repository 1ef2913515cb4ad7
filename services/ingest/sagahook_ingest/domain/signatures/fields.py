"""Where each vendor says what an event is and which delivery it is."""

from __future__ import annotations

from typing import NamedTuple

from sagahook.runtime.sources import SchemeName


class Fields(NamedTuple):
    """Each is `header:NAME`, `body:PATH`, or None.

    event_type None: `X-Event-Type`, else what the body says of itself (domain/body.py). delivery_id None: the sender
    has none. idempotency_key None: the header `Idempotency-Key`, where one is sent.
    """

    event_type: str | None = None
    delivery_id: str | None = None
    idempotency_key: str | None = None


DEFAULT_FIELDS: dict[SchemeName, Fields] = {
    "github": Fields("header:X-GitHub-Event", "header:X-GitHub-Delivery"),
    "standard": Fields("body:type", "header:webhook-id"),
    "stripe": Fields("body:type", "body:id"),
    "slack": Fields("body:event.type", "body:event_id"),
    "shopify": Fields("header:X-Shopify-Topic", "header:X-Shopify-Webhook-Id"),
    "hmac": Fields(),
    "bearer": Fields(),
    "basic": Fields(),
    "api_key": Fields(),
    "none": Fields(),
}
"""By scheme; what the source itself names comes before these."""
