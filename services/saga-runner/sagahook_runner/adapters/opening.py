"""Webhooks whose bodies are sealed, opened for their triggers, and what becomes of them sealed again."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from sagahook.runtime.transactions import OutRecord
from sagahook_runner.adapters.routes import Webhook
from sagahook_runner.domain.erased import WithoutKeys

if TYPE_CHECKING:
    from sagahook.runtime.erasure import DataKeys

_ERASED = "its data was erased: its triggers have nothing to read"


async def opened(webhook: Webhook, keys: DataKeys | None) -> Webhook:
    """One whose data key is gone is refused. Raises WithoutKeys, WrongKey."""
    if keys is None:
        raise WithoutKeys
    try:
        body = await keys.open_body(webhook.data_key, webhook.body)
    except ValueError as changed:
        return replace(webhook, body=b"", refused=f"the body cannot be read: {changed}")
    return replace(webhook, body=b"", refused=_ERASED) if body is None else replace(webhook, body=body)


def seal_routed(record: OutRecord, webhook: Webhook, keys: DataKeys | None) -> OutRecord:
    """A `webhook.routed`, which may quote the body; why a webhook was refused is our own word, and is to be read."""
    if keys is None or not webhook.data_key or webhook.refused:
        return record
    return keys.seal_record(record, webhook.data_key)
