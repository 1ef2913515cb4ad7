"""What the receiver does with a delivery, and two of them: one that verifies, and one of somebody else."""

from datetime import UTC, datetime
from typing import Any

from standardwebhooks import Webhook

_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
_seen: dict[str, Any] = {}


def remember(delivery: str, event: Any) -> None:
    _seen[delivery] = event


def promised(page: Any) -> None:
    body = '{"type": "task_completed", "timestamp": "2026-03-01T12:00:00.000Z", "data": {}}'
    now = datetime.now(UTC)
    headers = {
        "webhook-id": "d1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(_SECRET).sign("d1", now, body),
    }
    assert page.receive(headers, body.encode(), _SECRET) == 204
    assert _seen["d1"]["type"] == "task_completed"
    assert page.receive(headers, b"{}", _SECRET) == 401
