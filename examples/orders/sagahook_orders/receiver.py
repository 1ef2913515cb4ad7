"""A receiver of outbound webhooks: verifies each with the official Standard Webhooks library and keeps it.

`RECEIVER_SECRET=whsec_… python -m sagahook_orders.receiver --port 8091`; `GET /received` shows what arrived.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from standardwebhooks import Webhook, WebhookVerificationError


def build_receiver(secret: str) -> FastAPI:
    receiver = FastAPI(title="A webhook receiver")
    verifier = Webhook(secret)
    received: list[dict[str, Any]] = []

    @receiver.post("/hooks")
    async def hook(request: Request) -> JSONResponse:
        body = await request.body()
        try:
            event = verifier.verify(body, dict(request.headers))
        except WebhookVerificationError as invalid:
            received.append({"verified": False, "error": str(invalid)})
            return JSONResponse({"error": "the signature does not fit"}, 401)
        received.append({"verified": True, "webhook_id": request.headers["webhook-id"], "event": event})
        return JSONResponse({"status": "received"})

    @receiver.get("/received")
    async def show_received() -> list[dict[str, Any]]:
        return received

    return receiver


def main() -> None:
    parser = argparse.ArgumentParser(description="A receiver that verifies signatures")
    parser.add_argument("--port", type=int, default=8091)
    options = parser.parse_args()
    secret = os.environ.get("RECEIVER_SECRET")
    if secret is None:
        parser.error("set RECEIVER_SECRET to the endpoint's secret (whsec_…)")
    uvicorn.run(build_receiver(secret), host="127.0.0.1", port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
