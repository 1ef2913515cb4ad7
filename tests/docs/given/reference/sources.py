"""The file that the page shows lies where its commands look for it; and a request that was captured an hour and a half
ago."""

import hmac
import json
import time
from datetime import UTC, datetime

from tests.docs.given.quickstart import ENVIRONMENT as _STACK

_AGO = 5_406
_AT = int(time.time()) - _AGO
_BODY = json.dumps({"id": "evt_1", "type": "charge.succeeded", "data": {"padding": "x" * 213}})
_SIGNATURE = hmac.new(
    _STACK["STRIPE_SIGNING_SECRET"].encode(), f"{_AT}.{_BODY}".encode(), "sha256"
).hexdigest()

FILES = {
    "order.json": json.dumps({"kind": "order.created", "order_id": "A1"}),
    "push.json": json.dumps({"ref": "refs/heads/main"}),
    "body.json": _BODY,
    "headers.txt": f"Content-Type: application/json\nStripe-Signature: t={_AT},v1={_SIGNATURE}\n",
}
SHOWN = {
    '"file:/run/secrets/github", "file:/run/secrets/github-before"': '"env:GITHUB_WEBHOOK_SECRET"',
    "/etc/sagahook/sources.toml": "sources.toml",
    # What depends on the moment, and on how fast this machine is.
    "0198…": "…",
    str(_AGO): "…",
    "2026-01-05T10:00:00Z": f"{datetime.fromtimestamp(_AT, UTC):%Y-%m-%dT%H:%M:%SZ}",
    "0.4 s: 20 accepted, 80 not (80 x 429)": "… s: … accepted, … not (… x 429)",
}
