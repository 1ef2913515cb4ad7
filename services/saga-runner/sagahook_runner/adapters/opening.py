"""Webhooks whose bodies are sealed, opened for their triggers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sagahook_runner.adapters.routes import Webhook
from sagahook_runner.domain.erased import WithoutKeys

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_ERASED = "its data was erased before it was routed"


async def opened(webhook: Webhook, keys: DataKeys | None) -> Webhook:
    """One whose data key is gone is refused. Raises WithoutKeys, WrongKey."""
    if keys is None:
        raise WithoutKeys
    try:
        body = await keys.open_body(webhook.data_key, webhook.body)
    except ValueError as changed:
        return replace(webhook, body=b"", refused=f"the body cannot be read: {changed}")
    return replace(webhook, body=b"", refused=_ERASED) if body is None else replace(webhook, body=body)
