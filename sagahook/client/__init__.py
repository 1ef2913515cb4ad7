"""A typed client of the status API: what became of a webhook, what sagas do, and what operators ask of them.

    with Client("http://127.0.0.1:8080", key="shk_…") as client:
        accepted = client.send("orders", {"event_type": "order.created", "order": {"id": "4711"}})
        print(client.wait_until_final(accepted.source, accepted.correlation_id).status)

`Client` waits, `AsyncClient` is awaited; both have the same methods, one for each operation of the OpenAPI document
(schemas/openapi/tracker.json), under the same name.
"""

from sagahook.client import models
from sagahook.client.awaited import AsyncClient
from sagahook.client.blocking import Client
from sagahook.client.errors import (
    BadRequest,
    Behind,
    Conflict,
    Forbidden,
    NoKey,
    NotFinal,
    NotFound,
    NotOurs,
    Refused,
    SagahookError,
    ServerFailed,
    TooMany,
    Unavailable,
    Unreachable,
)
from sagahook.client.sending import WebhookAccepted

__all__ = [
    "AsyncClient",
    "BadRequest",
    "Behind",
    "Client",
    "Conflict",
    "Forbidden",
    "NoKey",
    "NotFinal",
    "NotFound",
    "NotOurs",
    "Refused",
    "SagahookError",
    "ServerFailed",
    "TooMany",
    "Unavailable",
    "Unreachable",
    "WebhookAccepted",
    "models",
]
