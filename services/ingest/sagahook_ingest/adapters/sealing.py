"""Webhooks whose source wants its data erasable are sealed before they get into the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sagahook.runtime import batches
from sagahook_ingest.domain.refusals import Unavailable
from sagahook_ingest.domain.webhook import Webhook
from sagahook_schemas.webhooks import HTTP_HEADERS, request_headers

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys


async def seal(webhook: Webhook, subject: str, keys: DataKeys | None) -> None:
    """The body, the headers and the attributes that came in them. Raises Unavailable: nothing is written unsealed."""
    if keys is None:
        raise Unavailable(
            f"The source {webhook.source!r} is to be erasable, and SAGAHOOK_ERASURE_KEY is not set: set it",
            retry_after=60,
        )
    try:
        key = await keys.key_for(webhook.source, subject)
    except batches.Unavailable as away:
        raise Unavailable(str(away), retry_after=5) from away
    webhook.body = key.seal(webhook.body)
    webhook.http_headers = key.seal_value(
        dict(request_headers([(HTTP_HEADERS, webhook.http_headers)]) or {})
    ).encode()
    if webhook.cloud_event:
        webhook.cloud_event = key.seal_value(webhook.cloud_event)
    webhook.data_key = key.id
