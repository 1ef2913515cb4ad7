"""What the OpenAPI document shows of each request and each answer."""

from __future__ import annotations

from typing import Any

_EVENT_ID = "01983b5e-6c1f-7d42-9a51-0c6c2f3b8e11"

EVENT: dict[str, Any] = {"event_type": "order.created", "order": {"id": "4711", "total": 19.9}}
BATCH: list[dict[str, Any]] = [EVENT, {"event_type": "order.paid", "order": {"id": "4711"}}]
CLOUD_EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "a7c1",
    "source": "/shop/north",
    "type": "order.created",
    "data": EVENT,
}
GITHUB_EVENT: dict[str, Any] = {
    "ref": "refs/heads/main",
    "repository": {"full_name": "octo/api"},
    "commits": [],
}

ACCEPTED: dict[str, Any] = {
    "status": "accepted",
    "source": "orders",
    "message": "Event queued for processing",
    "correlation_id": "order-4711",
    "event_id": _EVENT_ID,
}
GITHUB: dict[str, Any] = {
    "status": "accepted",
    "delivery_id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "event_type": "pull_request",
    "correlation_id": "order-4711",
    "event_id": _EVENT_ID,
    "result": {
        "status": "queued",
        "task_id": "0f7e2a6d-93a5-5b0e-8d5c-5f3f2f6f1c11",
        "action": "opened",
    },
}
BATCH_OUTCOME: dict[str, Any] = {
    "status": "partly_accepted",
    "source": "orders",
    "accepted": 1,
    "refused": 1,
    "results": [
        {
            "index": 0,
            "status": "accepted",
            "status_code": 202,
            "event_id": _EVENT_ID,
            "correlation_id": "order-4711",
        },
        {
            "index": 1,
            "status": "refused",
            "status_code": 400,
            "correlation_id": "order-4712",
            "error": "The field 'order.id' is missing or null: it is the idempotency key of the saga 'order'",
        },
    ],
}
CHALLENGE: dict[str, Any] = {"challenge": "3eZbrw1aBm2rZgRNFdxV2595E9CY3gmdALWMmHkvFXO7tYXAYM8P"}

ERRORS: dict[str, tuple[str, str]] = {
    "400": (
        "The body or a header is not as it must be, or an idempotency field is missing; `error` says which",
        "The field 'order.id' is missing or null: it is the idempotency key of the saga 'order'",
    ),
    "401": (
        "It is not shown that the source sent this",
        "The signature in X-Hub-Signature-256 is not one of this body by any secret of this source: check that the "
        "sender and the source have the same secret, and that nothing on the way changes the body",
    ),
    "403": (
        "The source takes nothing from this address",
        "The source 'orders' takes no webhooks from the address 192.0.2.7: name it in the source's allowed_ips",
    ),
    "404": (
        "No source of that name",
        "The source 'order' is unknown: deploy a saga with a trigger for it, or name it in SAGAHOOK_SOURCES",
    ),
    "405": ("Another method", "Webhooks are sent with POST; here there is OPTIONS, POST"),
    "409": (
        "This delivery was received before",
        f"The delivery '72d3162e' was received before, as the event {_EVENT_ID}: it is not taken again. To run what "
        "it led to once more, reprocess that event",
    ),
    "413": (
        "The body, or the number of a batch's events, is over the limit",
        "The body is larger than 1048576 bytes, which is the source's body_limit or else SAGAHOOK_BODY_LIMIT",
    ),
    "415": (
        "A format or an encoding that is not read here",
        "The body is sent with Content-Encoding 'gzip': send it as it is, without one",
    ),
    "422": (
        "The Idempotency-Key was used with another body",
        "This Idempotency-Key was used with another body: send the same body, or choose another key",
    ),
    "429": (
        "More than the source takes from one client",
        "More than 10 requests a second (and 20 at once) came from this client for this source: wait 1 s, then send "
        "more slowly",
    ),
    "503": (
        "Kafka is away or slow, or ingest is starting or stopping: send again after `Retry-After` seconds",
        "Kafka did not acknowledge the webhook in time; send it again",
    ),
}
"""By status: when it is given, and an example of its text."""
