"""A delivery as it arrives."""

from datetime import UTC, datetime

from standardwebhooks import Webhook

_NOW = datetime.now(UTC)

secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
body = b'{"type": "task_completed", "timestamp": "2026-03-01T12:00:00.000Z", "data": {}}'
headers = {
    "webhook-id": "0198",
    "webhook-timestamp": str(int(_NOW.timestamp())),
    "webhook-signature": Webhook(secret).sign("0198", _NOW, body.decode()),
}
