"""A small shop over HTTP: inventory, payments, shipping. `python -m sagahook_orders.shop --port 8090 --db shop.db`

It behaves as a good participant does: it honours `Idempotency-Key`, and refuses an action whose undo
(`Undoes: <the action's key>`) came first. `POST /control` makes it fail or stall; `GET /ledger` shows what it did.
"""

from __future__ import annotations

import argparse
import asyncio
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import uvicorn
from fastapi import FastAPI, Header
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from sagahook_orders.ledger import Ledger, Request

_OPERATIONS = {
    "inventory/reserve",
    "inventory/release",
    "payments/charge",
    "payments/refund",
    "shipping/ship",
    "shipping/cancel",
}
_UNDOING = {"inventory/release", "payments/refund", "shipping/cancel"}


class Control(BaseModel):
    """How one path behaves from now on. fail: so many requests are answered 503 before anything is done.
    stall: seconds that every request waits before anything is done."""

    path: str
    fail: int = Field(default=0, ge=0)
    stall: float = Field(default=0, ge=0)


class Order(BaseModel):
    order_id: str
    amount: float = 0
    items: list[Any] = []


def build_shop(ledger: Ledger) -> FastAPI:
    shop = FastAPI(title="A small shop")
    controls: dict[str, Control] = {}
    stalled: Counter[str] = Counter()

    @shop.post("/control")
    async def control(wanted: Control) -> Control:
        controls[wanted.path.strip("/")] = wanted
        return wanted

    @shop.get("/control")
    async def show_stalled() -> dict[str, int]:
        """How many requests wait on each path."""
        return {f"/{operation}": waiting for operation, waiting in stalled.items()}

    @shop.get("/ledger")
    def show_ledger() -> dict[str, Any]:
        return {"entries": ledger.entries()}

    @shop.post("/{department}/{verb}")
    async def operate(
        department: str,
        verb: str,
        order: Order,
        idempotency_key: Annotated[str, Header()],
        undoes: Annotated[str | None, Header()] = None,
    ) -> JSONResponse:
        operation = f"{department}/{verb}"
        if operation not in _OPERATIONS:
            return JSONResponse({"error": f"there is no operation {operation}"}, 404)
        if (operation in _UNDOING) != (undoes is not None):
            return JSONResponse({"error": f"{operation} must name what it undoes, and no other may"}, 422)
        behaviour = controls.get(operation)
        if behaviour is not None:
            stalled[operation] += 1
            await asyncio.sleep(behaviour.stall)
            stalled[operation] -= 1
            if behaviour.fail > 0:
                behaviour.fail -= 1
                return JSONResponse({"error": "told to fail"}, 503)
        request = Request(operation, idempotency_key, order.order_id, order.amount, undoes)
        answer = await asyncio.to_thread(ledger.handle, request)
        return JSONResponse(answer.body, answer.status)

    return shop


def main() -> None:
    parser = argparse.ArgumentParser(description="A small shop with a ledger")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--db", type=Path, default=Path("shop.db"), help="the ledger's file")
    parser.add_argument("--limit", type=float, default=1000, help="charges above it are declined")
    options = parser.parse_args()
    ledger = Ledger(options.db, limit=options.limit)
    uvicorn.run(build_shop(ledger), host=options.host, port=options.port, log_level="warning")


if __name__ == "__main__":
    main()
